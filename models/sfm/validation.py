"""Checks of a reconstruction that decide whether its poses are fit for use."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from core.arrays import Int64Array
from models.sfm.cross_validation import CrossValidation
from models.sfm.reconstruction import Reconstruction
from models.sfm.self_calibration import SelfCalibration
from models.sfm.triangulation import NOISE_PX, triangulate_points
from native import se3
from native.elementary import exp, log

MIN_LINKS = 10
MIN_LINK_RATIO = 0.1
MAX_REPROJECTION_RMSE_PX = 2.0
MIN_REGISTERED_RATIO = 0.5
MIN_INLIER_RATIO = 0.5
MIN_NOISE_PX = 0.1
MAX_SCALE_CHANGE = 0.3
MAX_POSITION_RMSE = 0.04
MAX_FOCAL_CHANGE = 0.1
"""Of the logarithm. On straight paths, which do not constrain the focal length, good clips have up to 0.08; smaller
changes raise the predicted error."""
MAX_ERROR_PERCENT = 0.5
ERROR_WEIGHTS = (10.8, 0.437, 0.393, 0.948)
"""Least squares fit of the logarithm of the true error, in %, on clips of the test bed with even seeds."""
ERROR_FLOORS = (1e-4, 5e-4, 1e-5)
MAX_STEP_RATIO = 5.0
STEP_REACH = 2
"""Frames on either side whose steps an isolated jump is compared with."""
MIN_DEPTH_SNR = 40.0
"""Real clips with good poses have 125 or more; TUM fr1/rpy, with hardly any translation, 17 to 25."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PoseFailure:
    """Reason why poses are not usable, and the frames with weak links.

    These share too few points with the next frame.
    """

    reason: str
    breaks: tuple[int, ...] = ()


def predicted_error(validation: CrossValidation, calibration: SelfCalibration) -> float:
    """Predicted absolute trajectory error in % of the trajectory's length, three significant digits.

    Log-linear in what each test sees: random errors (covariance), wrong associations (halves of the tracks), and a
    camera model that does not fit (changing focal length).
    """
    signals = validation.position_rmse, calibration.focal_change, calibration.position_sigma
    terms = np.asarray(log(np.add(signals, ERROR_FLOORS)))
    # No sum of products by BLAS: its last digits may differ.
    value = ERROR_WEIGHTS[0] + sum(w * float(t) for w, t in zip(ERROR_WEIGHTS[1:], terms, strict=True))
    return float(f"{float(exp(value)):.3g}")


def check_self_calibration(found: SelfCalibration | None) -> PoseFailure | None:
    """Failure if the focal length seems to change, else None."""
    if found is None:
        return PoseFailure(reason="too few points are observed in three frames to test the camera model")
    if found.focal_change > MAX_FOCAL_CHANGE:
        return PoseFailure(
            reason=f"the focal length seems to change by {2 * found.focal_change:.0%} (a zoom during translation?)"
        )
    return None


def check_predicted_error(error_percent: float) -> PoseFailure | None:
    """Failure if the predicted error is too large, else None."""
    if error_percent > MAX_ERROR_PERCENT:
        return PoseFailure(
            reason=f"the trajectory is uncertain: its predicted error is {error_percent:.2g} % of its length"
        )
    return None


def check_steps(recon: Reconstruction) -> PoseFailure | None:
    """Failure if one step of the camera is far longer than those around it, else None.

    Wrong matches across a weak link are consistent with each other; they show as an isolated jump.
    """
    frames = np.flatnonzero(recon.is_registered)
    centers = np.asarray(se3.invert(recon.cam_from_world[frames]))[:, :3]
    steps = np.linalg.norm(np.diff(centers, axis=0), axis=1) / np.diff(frames)
    if len(steps) <= 2 * STEP_REACH:
        return None
    padded = np.pad(steps, STEP_REACH)
    others = [k for k in range(2 * STEP_REACH + 1) if k != STEP_REACH]
    around = np.max([padded[k : k + len(steps)] for k in others], axis=0)
    ratio = steps / np.maximum(np.maximum(around, np.median(steps)), 1e-12)
    worst = int(ratio.argmax())
    if ratio[worst] <= MAX_STEP_RATIO:
        return None
    first, last = int(frames[worst]), int(frames[worst + 1])
    return PoseFailure(
        reason=f"the camera jumps between annotated frames {first} and {last}, {ratio[worst]:.0f} times as far as "
        "around them",
        breaks=(first,),
    )


def check_cross_validation(found: CrossValidation | None) -> PoseFailure | None:
    """Failure if solutions from halves of the tracks have another scale or shape, else None."""
    if found is None:
        return PoseFailure(reason="half of the tracks are too few to confirm the poses")
    frame = found.scale_change_frame
    if found.scale_change > MAX_SCALE_CHANGE:
        return PoseFailure(
            reason=f"the scale is uncertain: halves of the tracks change it by {found.scale_change:.0%} at "
            f"annotated frame {frame}",
            breaks=(frame,),
        )
    if found.position_rmse > MAX_POSITION_RMSE:
        return PoseFailure(
            reason="the trajectory is uncertain: halves of the tracks give positions that are off by "
            f"{found.position_rmse:.1%} of its length"
        )
    return None


def check_inlier_ratio(recon: Reconstruction) -> PoseFailure | None:
    """Failure if too few tracked keypoints are inliers of the static reconstruction, else None."""
    tracked = np.isfinite(recon.keypoints_px[..., 0]) & recon.is_registered[:, None]
    is_long = tracked.sum(axis=0) >= 3
    inliers = recon.is_observed[:, is_long] & np.isfinite(recon.inverse_depth[is_long]) & tracked[:, is_long]
    inlier_ratio = float(inliers.sum() / max(1, tracked[:, is_long].sum()))
    if inlier_ratio < MIN_INLIER_RATIO:
        return PoseFailure(
            reason=f"only {inlier_ratio:.0%} of the tracked keypoints are inliers of one static scene: most of it moves"
        )
    return None


def check_reconstruction(recon: Reconstruction, reprojection_px: float | None) -> PoseFailure | None:
    """Failure that makes the poses of a finished reconstruction unfit for use, else None.

    Args:
      recon: the reconstruction.
      reprojection_px: root mean square reprojection error; None without points.
    """
    registered = recon.is_registered
    if registered.mean() < MIN_REGISTERED_RATIO:
        edges = np.flatnonzero(registered[1:] != registered[:-1])
        return PoseFailure(
            reason=f"only {registered.sum()} of {len(registered)} annotated frames could be registered",
            breaks=tuple(edges.tolist()),
        )
    if reprojection_px is None:
        return PoseFailure(reason="no 3D point of a static scene has inlier observations in two frames")
    if reprojection_px > MAX_REPROJECTION_RMSE_PX:
        return PoseFailure(
            reason=f"the reprojection error is {reprojection_px:.1f} px: the scene moves, or the camera is no pinhole"
        )
    frames = np.flatnonzero(registered)
    links, observed = _count_links(recon)
    links, observed = links[frames[:-1]], np.minimum(observed[frames[:-1]], observed[frames[1:]])
    weak = np.flatnonzero(links < np.maximum(MIN_LINKS, MIN_LINK_RATIO * observed))
    if len(weak):
        first, second = frames[weak[0]], frames[weak[0] + 1]
        return PoseFailure(
            reason=f"annotated frames {first} and {second} are linked by {links[weak[0]]} points only (a cut or blur?)",
            breaks=tuple(frames[weak].tolist()),
        )
    if depth_snr(recon) < MIN_DEPTH_SNR:
        return PoseFailure(
            reason="most depths are uncertain: the camera hardly translates, so the parallax is too small"
        )
    return None


def _count_links(recon: Reconstruction) -> tuple[Int64Array, Int64Array]:
    """Triangulated points observed both up to and after each frame, and in each."""
    observed = (recon.is_observed & recon.is_registered[:, None])[:, np.isfinite(recon.inverse_depth)]
    observed = observed[:, observed.any(axis=0)]
    count = len(observed)
    first, last = observed.argmax(axis=0), count - 1 - observed[::-1].argmax(axis=0)
    changes = np.bincount(first, minlength=count) - np.bincount(last, minlength=count)
    return np.asarray(np.cumsum(changes)[:-1], np.int64), np.asarray(observed.sum(axis=1), np.int64)


def depth_snr(recon: Reconstruction) -> float:
    """Upper quartile of inverse depth over its standard deviation, for the noise of the residuals."""
    observed = recon.is_observed & recon.is_registered[:, None]
    points = np.flatnonzero(np.isfinite(recon.inverse_depth) & (observed.sum(axis=0) >= 2))
    if not len(points):
        return 0.0
    camera = recon.cam_from_world, recon.intrinsics_px
    found = triangulate_points(recon.keypoints_px[:, points], observed[:, points], recon.reference[points], *camera)
    snr = float(np.percentile(found.inverse_depth / found.sigma, 75))
    return snr * NOISE_PX / max(recon.residual_sigma_px(), MIN_NOISE_PX)
