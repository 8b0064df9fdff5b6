"""Incremental structure from motion without learned models: the classical pose estimator."""

from __future__ import annotations

import cv2
import numpy as np

from core.arrays import Float64Array
from models.sfm.cross_validation import cross_validate
from models.sfm.estimate import (
    INVERSE_DEPTH_P98,
    Intrinsics,
    MotionKind,
    PoseEstimate,
    PoseRequest,
    default_intrinsics,
    without_poses,
)
from models.sfm.feature_bridging import bridge_weak_links
from models.sfm.initial_pair import FOCAL_CANDIDATES, find_initial_pairs, initialize_mapper
from models.sfm.patch_refinement import refine_observations
from models.sfm.reconstruction import MAX_REPROJECTION_ERROR_PX, Reconstruction
from models.sfm.reference_frames import refine_reference_keypoints
from models.sfm.rotation import estimate_rotations
from models.sfm.self_calibration import self_calibrate
from models.sfm.tracks import Tracks, track_keypoints
from models.sfm.validation import (
    MIN_LINKS,
    PoseFailure,
    check_cross_validation,
    check_inlier_ratio,
    check_predicted_error,
    check_reconstruction,
    check_self_calibration,
    check_steps,
    depth_snr,
    predicted_error,
)
from models.sfm.zoom import detect_zoom
from native import se3

MIN_STATIC_TRACKS = 30
MAX_STATIC_MOTION_PX = 0.6
MIN_ROTATION_INLIER_RATIO = 0.7
LIKELY_ROTATION_INLIER_RATIO = 0.6
GENERAL_MOTION_DEPTH_SNR = 80.0
"""With a lower depth SNR, the likely ratio is enough for rotation-only motion."""
ROTATION_ERROR_PER_SIDE = 1 / 640
MIN_ROTATION_ERROR_PX = 0.4
NUM_INITIAL_PAIRS = 2


def estimate_poses(request: PoseRequest) -> PoseEstimate:
    """Camera poses and focal length of one clip of a mostly static scene; see `PoseEstimate`.

    Keypoints are tracked, with feature matches across weak links and loops. Degenerate motions come first: a static
    camera, a pure rotation, a zoom (no poses). Then incremental mapping: an initial pair with parallax, for several
    focal lengths if none is known; registration of the other frames by PnP; bundle adjustment with a Cauchy loss,
    filtering and retriangulation. Patch refinement then removes track drift; a last bundle adjustment refines reference
    keypoints too. With uncertain depths and enough inliers of a pure rotation, the motion is a rotation after all.
    Scale: the 98th percentile of the points' inverse depths is 2. About 0.1 s of CPU a frame at 640 x 360.
    """
    gray = [np.asarray(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), np.uint8) for frame in request.frames]
    if len(gray) == 1:
        return without_poses(request, "one frame shows no camera motion")
    tracks = bridge_weak_links(track_keypoints(gray, request.dynamic_masks), gray)
    breaks = _find_breaks(tracks)
    if breaks:
        frames = f"annotated frames {breaks[0]} and {breaks[0] + 1}"
        return without_poses(request, f"{frames} have no points in common (a cut, blur, or no texture)", breaks)
    candidates, refine = _candidate_intrinsics(request)
    middle = candidates[len(candidates) // 2]
    if _is_static(tracks):
        return _make_estimate(request, _static_reconstruction(tracks, middle), "static")
    rotation_only = _fit_pure_rotation(tracks, candidates, refine, request.num_threads)
    rotation_inlier_ratio = _rotation_inlier_ratio(rotation_only, request.size)
    if rotation_inlier_ratio > MIN_ROTATION_INLIER_RATIO:
        return _make_estimate(request, rotation_only, "rotation")
    zoom = detect_zoom(tracks, middle)
    if zoom is not None:
        return without_poses(request, zoom.reason)
    pairs = find_initial_pairs(tracks, middle, NUM_INITIAL_PAIRS)
    mapper = initialize_mapper(tracks, pairs, candidates, refine, request.num_threads)
    if mapper is None and rotation_inlier_ratio > LIKELY_ROTATION_INLIER_RATIO:
        return _make_estimate(request, rotation_only, "rotation")
    if mapper is None:
        return without_poses(request, "no two frames show enough parallax in common points to start from")
    mapper.register_frames(refine)
    mapper.refine_globally(refine)
    failure = check_inlier_ratio(mapper)
    refine_observations(mapper, gray, request.num_threads)
    mapper.bundle_adjust(iterations=8, optimize_focal=refine)
    mapper.filter_observations(MAX_REPROJECTION_ERROR_PX / 2)
    mapper.retriangulate_weak_frames()
    mapper.tighten_loss_scale()
    refine_reference_keypoints(mapper, refine)
    mapper.bundle_adjust(iterations=15, optimize_focal=refine)
    mapper.triangulate()  # tracks without an aligned patch are too inexact for poses, but not for the scene's depth
    if rotation_inlier_ratio > LIKELY_ROTATION_INLIER_RATIO and depth_snr(mapper) < GENERAL_MOTION_DEPTH_SNR:
        return _make_estimate(request, rotation_only, "rotation")
    validation = cross_validate(mapper, tracks, request.num_threads)
    calibration = self_calibrate(mapper, np.asarray(request.times_s))
    error = None if validation is None or calibration is None else predicted_error(validation, calibration)
    failure = failure or check_steps(mapper) or check_cross_validation(validation)
    failure = failure or check_self_calibration(calibration) or check_predicted_error(error or 0.0)
    return _make_estimate(request, mapper, "general", failure, error)


def _candidate_intrinsics(request: PoseRequest) -> tuple[list[Float64Array], bool]:
    """Intrinsics to initialize from, and whether the focal length is optimized."""
    if request.intrinsics is not None and request.intrinsics_mode != "estimate":
        return [request.intrinsics.as_array()], request.intrinsics_mode == "refine"
    default, side = default_intrinsics(request.size), max(request.size)
    focals = [factor * side for factor in FOCAL_CANDIDATES]
    return [Intrinsics(fx=focal, fy=focal, cx=default.cx, cy=default.cy).as_array() for focal in focals], True


def _find_breaks(tracks: Tracks) -> tuple[int, ...]:
    """Frames that share too few tracks with the next one."""
    tracked = tracks.is_tracked
    return tuple(np.flatnonzero((tracked[1:] & tracked[:-1]).sum(axis=1) < MIN_LINKS).tolist())


def _is_static(tracks: Tracks) -> bool:
    """Whether the median track stays within a fraction of a pixel of the first frame."""
    first = np.flatnonzero(tracks.is_tracked[0])
    motion_px = np.linalg.norm(tracks.keypoints_px[:, first] - tracks.keypoints_px[0, first], axis=2)
    tracked = np.isfinite(motion_px)
    if (tracked.sum(axis=1) < MIN_STATIC_TRACKS).any():
        return False
    return bool(np.nanmedian(motion_px, axis=1).max() < MAX_STATIC_MOTION_PX)


def _static_reconstruction(tracks: Tracks, intrinsics: Float64Array) -> Reconstruction:
    recon = Reconstruction(tracks, intrinsics)
    recon.is_registered[:] = True
    return recon


def _fit_pure_rotation(
    tracks: Tracks, candidates: list[Float64Array], refine: bool, num_threads: int
) -> Reconstruction:
    """Best rotation-only reconstruction: rotations about one camera center, over candidate intrinsics."""
    middle = candidates[len(candidates) // 2]
    frames = np.arange(1, len(tracks.keypoints_px))
    steps = np.tile(np.eye(4), (len(frames), 1, 1))
    steps[:, :3, :3], _ = estimate_rotations(*tracks.correspondences(frames - 1, frames), middle)
    twists = se3.log(se3.from_matrix(steps))

    def fit(intrinsics: Float64Array) -> Reconstruction:
        recon = Reconstruction(tracks, intrinsics, num_threads)
        recon.initialize_pure_rotation()
        # For equal motion in pixels, rotation angles are inversely proportional to the focal length.
        poses = [recon.cam_from_world[0]]
        for step in se3.exp(twists * (middle[0] / intrinsics[0])):
            poses.append(se3.compose(step, poses[-1]))
        recon.cam_from_world = np.array(poses)
        recon.bundle_adjust(optimize_points=False, optimize_focal=refine, iterations=10)
        return recon

    return max(map(fit, candidates[::2]), key=Reconstruction.soft_inlier_count)


def _rotation_inlier_ratio(rotation_only: Reconstruction, size: tuple[int, int]) -> float:
    """Share of the observations that are inliers of the rotation-only reconstruction.

    The others are then taken for moving objects: a camera that pans with an object looks like one that translates past
    a near, static one, but translation leaves hardly a third of a scene without parallax.
    """
    limit = max(MIN_ROTATION_ERROR_PX, ROTATION_ERROR_PER_SIDE * max(size))
    return float(np.mean(rotation_only.residuals_px() < limit))


def _make_estimate(
    request: PoseRequest,
    recon: Reconstruction,
    kind: MotionKind,
    failure: PoseFailure | None = None,
    error_percent: float | None = None,
) -> PoseEstimate:
    registered = recon.is_registered.copy()
    poses = recon.cam_from_world.copy()
    points = np.zeros((0, 3))
    reprojection: float | None = None
    if kind == "general":
        chosen = np.flatnonzero(recon.is_well_triangulated())
        scale = float(np.percentile(recon.inverse_depth[chosen], 98)) / INVERSE_DEPTH_P98 if len(chosen) else 1.0
        points = recon.world_points(chosen) * scale
        poses[:, :3] *= scale
        error = recon.residuals_px()
        error = error[np.isfinite(error)]  # without points behind a camera
        reprojection = float(np.sqrt(np.mean(np.square(error)))) if len(error) else None
    else:
        poses[:, :3] = 0.0
    first = int(np.flatnonzero(registered)[0])
    points = np.asarray(se3.act(poses[first], points)) if len(points) else points
    poses = np.asarray(se3.compose(poses, se3.invert(poses[first])))
    poses[~registered] = np.nan
    failure = (check_reconstruction(recon, reprojection) or failure) if kind == "general" else None
    return PoseEstimate(
        cam_from_world=poses,
        registered=registered,
        intrinsics_px=recon.intrinsics_px.copy(),
        motion_kind=kind,
        pose_ok=failure is None,
        reason=None if failure is None else failure.reason,
        points_world=points,
        reprojection_px=reprojection,
        focal_sigma=None if kind == "static" else recon.focal_sigma,
        breaks=() if failure is None else failure.breaks,
        error_percent=error_percent,
    )
