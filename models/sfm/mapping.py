"""Incremental mapping: initial pair, registration, triangulation and bundle adjustment, frame by frame."""

from __future__ import annotations

import cv2
import numpy as np

from core.arrays import Float64Array, Int64Array
from models.sfm.reconstruction import MAX_REPROJECTION_ERROR_PX, Reconstruction
from models.sfm.rotation import estimate_rotations
from native import se3

MIN_COMMON_POINTS = 30
MIN_PNP_POINTS = 12
MIN_SCALE_POINTS = 6
LOCAL_FRAMES = 8
GLOBAL_BA_RATIO = 1.3
"""Global bundle adjustment runs whenever the number of registered frames has grown by this factor."""
MAX_GAP_FRAMES = 4


class IncrementalMapper(Reconstruction):
    """A reconstruction that grows as in COLMAP's incremental mapper (Schönberger & Frahm 2016)."""

    def register_initial_pair(self, first: int, second: int) -> int:
        """Registers two frames by the essential matrix; returns the inlier count.

        Nister 2004. The count is 0 on failure.
        """
        common = np.flatnonzero(self.is_observed[first] & self.is_observed[second])
        if len(common) < MIN_COMMON_POINTS:
            return 0
        fx, fy, cx, cy = self.intrinsics_px
        matrix = np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1.0]])
        a, b = self.keypoints_px[first, common], self.keypoints_px[second, common]
        essential, inliers = cv2.findEssentialMat(a, b, matrix, cv2.USAC_MAGSAC, 0.999, 1.5)
        if essential is None or essential.shape != (3, 3):
            return 0
        count, rotation, translation, _ = cv2.recoverPose(essential, a, b, matrix, mask=inliers)
        pose = np.eye(4)
        pose[:3, :3], pose[:3, 3] = rotation, translation.reshape(3)
        self.cam_from_world[first] = np.array([0, 0, 0, 0, 0, 0, 1.0])
        self.cam_from_world[second] = se3.from_matrix(pose)
        self.is_registered[[first, second]] = True
        self.triangulate()
        return int(count)

    def register_frame(self, frame: int) -> bool:
        """Registers a frame by PnP; returns whether it succeeded.

        By rotation alone where few points are well triangulated.
        """
        points = np.flatnonzero(self.is_well_triangulated() & self.is_observed[frame])
        pose = self._estimate_absolute_pose(frame, points) if len(points) >= MIN_PNP_POINTS else None
        if pose is None and len(points) < MIN_PNP_POINTS:
            num_points = np.count_nonzero(np.isfinite(self.inverse_depth) & self.is_observed[frame])
            shared = (self.is_observed[self.is_registered] & self.is_observed[frame]).sum(axis=1).max()
            # Many correspondences determine the direction of translation, and a few triangulated points its length.
            if num_points < MIN_PNP_POINTS and (num_points < MIN_SCALE_POINTS or shared < MIN_COMMON_POINTS):
                return False
        self.cam_from_world[frame] = self._pose_from_rotation(frame) if pose is None else pose
        self.is_registered[frame] = True
        self.refine_pose(frame)
        self.triangulate(frame)
        return True

    def _pose_from_rotation(self, frame: int) -> Float64Array:
        """Pose from the registered frame with most shared tracks, by a rotation."""
        registered = np.flatnonzero(self.is_registered)
        shared = (self.is_observed[registered] & self.is_observed[frame]).sum(axis=1)
        other = int(registered[np.lexsort((np.abs(registered - frame), -shared))[0]])
        common = self.is_observed[other] & self.is_observed[frame]
        step = np.eye(4)
        if np.count_nonzero(common) >= MIN_PNP_POINTS:
            source, target = self.keypoints_px[other, common][None], self.keypoints_px[frame, common][None]
            is_common = np.ones(source.shape[:2], bool)
            step[:3, :3] = estimate_rotations(source, target, is_common, self.intrinsics_px)[0][0]
        return np.asarray(se3.compose(se3.from_matrix(step), self.cam_from_world[other]))

    def _estimate_absolute_pose(self, frame: int, points: Int64Array) -> Float64Array | None:
        """Pose by PnP (SQPnP in RANSAC) from triangulated points, None with too few inliers."""
        fx, fy, cx, cy = self.intrinsics_px
        matrix = np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1.0]])
        try:
            ok, rotation, translation, inliers = cv2.solvePnPRansac(
                self.world_points(points),
                self.keypoints_px[frame, points],
                matrix,
                None,
                iterationsCount=300,
                reprojectionError=MAX_REPROJECTION_ERROR_PX,
                confidence=0.999,
                flags=cv2.SOLVEPNP_SQPNP,
            )
        except cv2.error:  # raised for degenerate points, such as all on one line
            return None
        if not ok or inliers is None or len(inliers) < MIN_PNP_POINTS:
            return None
        pose = np.eye(4)
        pose[:3, :3], pose[:3, 3] = cv2.Rodrigues(rotation)[0], translation.reshape(3)
        return np.asarray(se3.from_matrix(pose))

    def register_frames(self, refine_focal: bool) -> None:
        """Registers all frames that it can, outward from the registered ones.

        With local and global bundle adjustment.
        """
        failed = np.zeros(len(self.is_registered), bool)
        last_global = int(self.is_registered.sum())
        while True:
            registered = np.flatnonzero(self.is_registered)
            distance = np.abs(np.arange(len(failed))[:, None] - registered).min(axis=1)
            candidates = np.flatnonzero(~self.is_registered & ~failed & (distance <= MAX_GAP_FRAMES))
            if not len(candidates):
                return
            num_points = (self.is_observed[candidates] & self.is_well_triangulated()).sum(axis=1)
            frame = int(candidates[(num_points - distance[candidates] * 1e-3).argmax()])
            if not self.register_frame(frame):
                failed[frame] = True
                continue
            failed[:] = False
            registered = np.flatnonzero(self.is_registered)
            if len(registered) >= GLOBAL_BA_RATIO * last_global:
                self.bundle_adjust(iterations=8, optimize_focal=refine_focal)
                self.filter_observations()
                self.triangulate()
                last_global = len(registered)
            else:
                window = registered[np.argsort(np.abs(registered - frame), kind="stable")[:LOCAL_FRAMES]]
                self.bundle_adjust(free_frames=window, iterations=5)
                self.filter_observations()
                self.triangulate(frame)

    def retriangulate_weak_frames(self) -> None:
        """Retriangulates the tracks of registered frames that observe few points."""
        num_points = (self.is_observed & np.isfinite(self.inverse_depth)).sum(axis=1)
        for frame in np.flatnonzero(self.is_registered & (num_points < MIN_COMMON_POINTS)).tolist():
            self.triangulate(frame)

    def refine_globally(self, refine_focal: bool, rounds: int = 2, iterations: int = 8) -> None:
        """Rounds of global bundle adjustment, filtering and retriangulation (COLMAP: IterativeGlobalRefinement)."""
        for _ in range(rounds):
            self.bundle_adjust(iterations=iterations, optimize_focal=refine_focal)
            self.filter_observations(MAX_REPROJECTION_ERROR_PX / 2)
            self.triangulate()
        self.bundle_adjust(iterations=iterations, optimize_focal=refine_focal)
