"""Camera poses without learned models: tracked corners, a robust start, and bundle adjustment."""

from __future__ import annotations

import cv2
import numpy as np

from core.arrays import Float64Array
from models.sfm.estimate import (
    DISPARITY_TOP,
    Intrinsics,
    MotionKind,
    PoseEstimate,
    PoseRequest,
    default_intrinsics,
    without_poses,
)
from models.sfm.feature_bridging import bridge_weak_links
from models.sfm.initial_pair import FOCAL_TRIALS, best_pairs, start_mapping
from models.sfm.mapping import Mapper
from models.sfm.patch_refinement import reobserve
from models.sfm.reconstruction import MAX_ERROR_PX
from models.sfm.reference_frames import free_anchors
from models.sfm.rotation import rotations_between
from models.sfm.tracks import Tracks, track_points
from models.sfm.validation import MIN_LINKS, PoseFailure, certainty_of, check_reconstruction, check_tracking
from models.sfm.zoom import find_zoom
from native import se3

MIN_POINTS = 30
STATIC_PX = 0.6
MIN_ROTATION_SHARE = 0.45
LIKELY_ROTATION_SHARE = 0.35
TRANSLATION_CERTAINTY = 80.0
"""The lower share is enough where even the better depths of the best map with translation are less certain."""
ROTATION_SHARE_OF_SIDE = 1 / 640
MIN_ROTATION_PX = 0.4
NUM_STARTS = 2


def estimate_poses(request: PoseRequest) -> PoseEstimate:
    """Camera poses and focal length of one clip of a mostly static scene; see `PoseEstimate`.

    A camera that stands still or only turns is told apart first, since no translation can be found then, and so is one
    that zooms: it gets no poses. Where little leads from a frame to the next, features join those around. The pair of
    frames with the best parallax starts a map, for several focal lengths if none is known; the other frames are added
    one by one by the points that they see; all is adjusted together. Points that do not follow the scene pull less
    (Cauchy kernel) and are dropped beyond a few pixels. At last all points are looked for by their patches in all
    frames, which undoes the drift of tracks, and all is adjusted once more, the places that points are seen at in
    their anchors too. If no depth is then known well and turns explain more than a third of what is seen, the
    camera turns after all. Scale: the 98th percentile of the points' inverse depths is 2. About 0.1 s of CPU a
    frame at 640 x 360.
    """
    gray = [np.asarray(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), np.uint8) for frame in request.frames]
    tracks = track_points(gray, request.dynamic_masks)
    broken = _breaks(tracks)
    if len(gray) == 1:
        return without_poses(request, "one frame shows no camera motion")
    if broken:
        frames = f"annotated frames {broken[0]} and {broken[0] + 1}"
        return without_poses(request, f"{frames} have no points in common (a cut, blur, or no texture)", broken)
    tracks = bridge_weak_links(tracks, gray)
    trials, refine = _trials(request)
    middle = trials[len(trials) // 2]
    if _is_static(tracks):
        return _answer(request, _still(tracks, middle, request.num_threads), "static")
    turning = _turning(tracks, trials, refine, request.num_threads)
    turning_share = _share_of_turning(turning, request.size)
    if turning_share > MIN_ROTATION_SHARE:
        return _answer(request, turning, "rotation")
    zoom = find_zoom(tracks, middle)
    if zoom is not None:
        return without_poses(request, zoom.reason)
    mapper = start_mapping(tracks, best_pairs(tracks, middle, NUM_STARTS), trials, refine, request.num_threads)
    if mapper is None:
        return without_poses(request, "no two frames show enough parallax in common points to start from")
    mapper.add_all(refine)
    mapper.polish(refine)
    doubt = check_tracking(mapper)
    reobserve(mapper, gray, request.num_threads)
    mapper.adjust(iterations=8, focal_too=refine)
    mapper.drop_outliers(MAX_ERROR_PX / 2)
    mapper.support_weak()
    mapper.tighten_loss_scale()
    free_anchors(mapper, refine)
    mapper.adjust(iterations=15, focal_too=refine)
    mapper.triangulate()  # what no patch was found of says nothing about poses, but how far the scene is
    if turning_share > LIKELY_ROTATION_SHARE and certainty_of(mapper) < TRANSLATION_CERTAINTY:
        return _answer(request, turning, "rotation")
    return _answer(request, mapper, "general", doubt)


def _trials(request: PoseRequest) -> tuple[list[Float64Array], bool]:
    """Intrinsics to start from, and whether the focal length is adjusted."""
    if request.intrinsics is not None and request.intrinsics_mode != "estimate":
        return [request.intrinsics.as_array()], request.intrinsics_mode == "refine"
    guess = default_intrinsics(request.size)
    longer = max(request.size)
    return [Intrinsics(fx=f * longer, fy=f * longer, cx=guess.cx, cy=guess.cy).as_array() for f in FOCAL_TRIALS], True


def _breaks(tracks: Tracks) -> tuple[int, ...]:
    """The frames that share hardly a point with the next one."""
    seen = tracks.is_seen
    return tuple(np.flatnonzero((seen[1:] & seen[:-1]).sum(axis=1) < MIN_LINKS).tolist())


def _is_static(tracks: Tracks) -> bool:
    first = np.flatnonzero(tracks.is_seen[0])
    moved = np.linalg.norm(tracks.position[:, first] - tracks.position[0, first], axis=2)
    seen = np.isfinite(moved)
    if (seen.sum(axis=1) < MIN_POINTS).any():
        return False
    return bool(np.nanmedian(moved, axis=1).max() < STATIC_PX)


def _still(tracks: Tracks, intrinsics: Float64Array, num_threads: int) -> Mapper:
    mapper = Mapper(tracks, intrinsics, num_threads)
    mapper.is_registered[:] = True
    return mapper


def _turning(tracks: Tracks, trials: list[Float64Array], refine: bool, num_threads: int) -> Mapper:
    """The best explanation of all frames by rotations about one center."""
    middle = trials[len(trials) // 2]
    frames = np.arange(1, len(tracks.position))
    steps = np.tile(np.eye(4), (len(frames), 1, 1))
    steps[:, :3, :3], _ = rotations_between(*tracks.of_pairs(frames - 1, frames), middle)
    turns = se3.log(se3.from_matrix(steps))

    def explain(intrinsics: Float64Array) -> Mapper:
        mapper = Mapper(tracks, intrinsics, num_threads)
        mapper.place_at_infinity()
        # The same shift in pixels is a turn in inverse proportion to the focal length.
        poses = [mapper.cam_from_world[0]]
        for step in se3.exp(turns * (middle[0] / intrinsics[0])):
            poses.append(se3.compose(step, poses[-1]))
        mapper.cam_from_world = np.array(poses)
        mapper.adjust(points_too=False, focal_too=refine, iterations=10)
        return mapper

    return max(map(explain, trials[::2]), key=Mapper.fit_score)


def _share_of_turning(turning: Mapper, size: tuple[int, int]) -> float:
    """How much of what is seen keeps to rotations; if it is enough, the rest must be moving by itself.

    A camera that follows something turns about a far background. As a translation, the thing would be near and still;
    but a camera that translates leaves hardly a third of a scene without parallax.
    """
    limit = max(MIN_ROTATION_PX, ROTATION_SHARE_OF_SIDE * max(size))
    return float(np.mean(turning.residuals() < limit))


def _answer(request: PoseRequest, mapper: Mapper, kind: MotionKind, doubt: PoseFailure | None = None) -> PoseEstimate:
    registered = mapper.is_registered.copy()
    poses = mapper.cam_from_world.copy()
    points = np.zeros((0, 3))
    reprojection: float | None = None
    if kind == "general":
        chosen = np.flatnonzero(mapper.is_near())
        scale = float(np.percentile(mapper.inverse_depth[chosen], 98)) / DISPARITY_TOP if len(chosen) else 1.0
        points = mapper.world_points(chosen) * scale
        poses[:, :3] *= scale
        error = mapper.residuals()
        error = error[np.isfinite(error)]  # without those that ended up behind a camera
        reprojection = float(np.sqrt(np.mean(np.square(error)))) if len(error) else None
    else:
        poses[:, :3] = 0.0
    first = int(np.flatnonzero(registered)[0])
    points = np.asarray(se3.act(poses[first], points)) if len(points) else points
    poses = np.asarray(se3.compose(poses, se3.invert(poses[first])))
    poses[~registered] = np.nan
    doubt = (check_reconstruction(mapper, reprojection) or doubt) if kind == "general" else None
    return PoseEstimate(
        cam_from_world=poses,
        registered=registered,
        intrinsics_px=mapper.intrinsics_px.copy(),
        motion_kind=kind,
        pose_ok=doubt is None,
        reason=None if doubt is None else doubt.reason,
        points_world=points,
        reprojection_px=reprojection,
        focal_sigma=None if kind == "static" else mapper.focal_sigma,
        breaks=() if doubt is None else doubt.breaks,
    )
