"""SIFT features of frames, and geometrically verified matches between two frames.

Verified by epipolar geometry or a homography.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

from core.arrays import Float32Array, Float64Array, Int64Array, UInt8Array

MAX_FEATURES = 1500
MIN_CONTRAST = 0.01
MAX_RATIO = 0.8
"""Of the ratio test: distance of the best match over that of the second best (Lowe 2004)."""
MIN_MATCHES = 30
MAX_HOMOGRAPHY_ERROR_PX = 4.0
MAX_EPIPOLAR_ERROR_PX = 1.5
MIN_EPIPOLAR_INLIER_RATIO = 0.5
"""Of verified pairs, 70 % and more of the matches are inliers, of unrelated images at most 45 %."""
RANSAC_CONFIDENCE, RANSAC_ITERATIONS = 0.999, 2000


class Features(NamedTuple):
    """SIFT features of a frame (Lowe 2004).

    (k, 2) keypoints in pixels and (k, 128) descriptors.
    """

    keypoints: Float64Array
    descriptors: Float32Array


def detect_features(gray: UInt8Array) -> Features:
    """SIFT features of an (h, w) uint8 frame."""
    sift = cv2.SIFT.create(nfeatures=MAX_FEATURES, contrastThreshold=MIN_CONTRAST)
    keypoints, descriptors = sift.detectAndCompute(gray, None)
    points = np.array([k.pt for k in keypoints], np.float64).reshape(-1, 2)
    return Features(points, np.asarray(np.zeros((0, 128)) if descriptors is None else descriptors, np.float32))


def match_features(first: Features, second: Features) -> tuple[Int64Array, Int64Array]:
    """Feature indices of verified matches in both frames; none if verification fails.

    Matches pass the ratio test first.

    The fundamental matrix (MAGSAC++, Barath et al. 2020) verifies scenes with parallax. It also fits unrelated matches
    by chance, so that a high share of inliers is required; else a homography has to fit.
    """
    none = np.zeros(0, np.int64)
    if min(len(first.keypoints), len(second.keypoints)) < MIN_MATCHES:
        return none, none
    source, target = _nearest_descriptors(first.descriptors, second.descriptors)
    if len(source) < MIN_MATCHES:
        return none, none
    pixels = first.keypoints[source], second.keypoints[target]
    try:
        _, mask = cv2.findFundamentalMat(
            *pixels, cv2.USAC_MAGSAC, MAX_EPIPOLAR_ERROR_PX, RANSAC_CONFIDENCE, RANSAC_ITERATIONS
        )
    except cv2.error:  # raised where no sample gives a model
        mask = None
    if mask is None or np.count_nonzero(mask) < max(MIN_MATCHES, MIN_EPIPOLAR_INLIER_RATIO * len(source)):
        _, mask = cv2.findHomography(*pixels, cv2.USAC_MAGSAC, MAX_HOMOGRAPHY_ERROR_PX)
    if mask is None or np.count_nonzero(mask) < MIN_MATCHES:
        return none, none
    is_inlier = mask.ravel() > 0
    return source[is_inlier], target[is_inlier]


def _nearest_descriptors(first: Float32Array, second: Float32Array) -> tuple[Int64Array, Int64Array]:
    """Indices of nearest neighbors by squared distance that pass the ratio test, one to one."""
    # Descriptors are integers and sums stay below 2**24: exact in float32, whatever the order of summation.
    distance = np.square(first).sum(axis=1)[:, None] - 2 * (first @ second.T) + np.square(second).sum(axis=1)
    rows, nearest = np.arange(len(first)), distance.argmin(axis=1)
    best = distance[rows, nearest]
    distance[rows, nearest] = np.inf
    passed = np.flatnonzero(best < MAX_RATIO**2 * distance.min(axis=1))
    is_unique = np.bincount(nearest[passed], minlength=len(second))[nearest[passed]] == 1
    return passed[is_unique], nearest[passed[is_unique]]
