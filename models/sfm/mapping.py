"""Maps that grow frame by frame."""

from __future__ import annotations

import cv2
import numpy as np

from core.arrays import Float64Array, Int64Array
from models.sfm.reconstruction import MAX_ERROR_PX, Reconstruction
from models.sfm.rotation import rotations_between
from native import se3

MIN_COMMON_POINTS = 30
MIN_PNP_POINTS = 12
MIN_SCALE_POINTS = 6
LOCAL_FRAMES = 8
FULL_EVERY = 1.3
MAX_GAP_FRAMES = 4


class Mapper(Reconstruction):
    """A map that frames are added to, one by one."""

    def start(self, first: int, second: int) -> int:
        """Poses two frames from their common points; returns how many fit, 0 if none do."""
        common = np.flatnonzero(self.is_used[first] & self.is_used[second])
        if len(common) < MIN_COMMON_POINTS:
            return 0
        fx, fy, cx, cy = self.intrinsics_px
        matrix = np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1.0]])
        a, b = self.position[first, common], self.position[second, common]
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

    def add(self, frame: int) -> bool:
        """Poses a frame by the points that it sees; False if it sees too few."""
        points = np.flatnonzero(self.is_near() & self.is_used[frame])
        found = self._resect(frame, points) if len(points) >= MIN_PNP_POINTS else None
        if found is None and len(points) < MIN_PNP_POINTS:
            known = np.count_nonzero(np.isfinite(self.inverse_depth) & self.is_used[frame])
            shared = (self.is_used[self.is_registered] & self.is_used[frame]).sum(axis=1).max()
            # Two views of many points tell where to, and a few of known depth how far.
            if known < MIN_PNP_POINTS and (known < MIN_SCALE_POINTS or shared < MIN_COMMON_POINTS):
                return False
        self.cam_from_world[frame] = self._turned_pose(frame) if found is None else found
        self.is_registered[frame] = True
        self.refine_poses(frame)
        self.triangulate(frame)
        return True

    def _turned_pose(self, frame: int) -> Float64Array:
        """The pose of the posed frame that shares most points, turned as these tell; the nearer one of equals."""
        posed = np.flatnonzero(self.is_registered)
        shared = (self.is_used[posed] & self.is_used[frame]).sum(axis=1)
        other = int(posed[np.lexsort((np.abs(posed - frame), -shared))[0]])
        common = self.is_used[other] & self.is_used[frame]
        step = np.eye(4)
        if np.count_nonzero(common) >= MIN_PNP_POINTS:
            source, target = self.position[other, common][None], self.position[frame, common][None]
            is_common = np.ones(source.shape[:2], bool)
            step[:3, :3] = rotations_between(source, target, is_common, self.intrinsics_px)[0][0]
        return np.asarray(se3.compose(se3.from_matrix(step), self.cam_from_world[other]))

    def _resect(self, frame: int, points: Int64Array) -> Float64Array | None:
        fx, fy, cx, cy = self.intrinsics_px
        matrix = np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1.0]])
        ok, rotation, translation, inliers = cv2.solvePnPRansac(
            self.world_points(points),
            self.position[frame, points],
            matrix,
            None,
            iterationsCount=300,
            reprojectionError=MAX_ERROR_PX,
            confidence=0.999,
            flags=cv2.SOLVEPNP_SQPNP,
        )
        if not ok or inliers is None or len(inliers) < MIN_PNP_POINTS:
            return None
        pose = np.eye(4)
        pose[:3, :3], pose[:3, 3] = cv2.Rodrigues(rotation)[0], translation.reshape(3)
        return np.asarray(se3.from_matrix(pose))

    def add_all(self, refine_focal: bool) -> None:
        """Adds all frames that can be posed, from the posed ones outwards, and adjusts as the map grows."""
        failed = np.zeros(len(self.is_registered), bool)
        last_full = int(self.is_registered.sum())
        while True:
            posed = np.flatnonzero(self.is_registered)
            distance = np.abs(np.arange(len(failed))[:, None] - posed).min(axis=1)
            reachable = np.flatnonzero(~self.is_registered & ~failed & (distance <= MAX_GAP_FRAMES))
            if not len(reachable):
                return
            near = (self.is_used[reachable] & self.is_near()).sum(axis=1)
            frame = int(reachable[(near - distance[reachable] * 1e-3).argmax()])
            if not self.add(frame):
                failed[frame] = True
                continue
            failed[:] = False
            posed = np.flatnonzero(self.is_registered)
            if len(posed) >= FULL_EVERY * last_full:
                self.adjust(iterations=8, focal_too=refine_focal)
                self.drop_outliers()
                self.triangulate()
                last_full = len(posed)
            else:
                window = posed[np.argsort(np.abs(posed - frame), kind="stable")[:LOCAL_FRAMES]]
                self.adjust(free=window, iterations=5)
                self.drop_outliers()
                self.triangulate(frame)

    def support_weak(self) -> None:
        """Gives depths to the points without one that frames see which see few points with one."""
        known = np.isfinite(self.inverse_depth)
        for frame in np.flatnonzero(
            self.is_registered & ((self.is_used & known).sum(axis=1) < MIN_COMMON_POINTS)
        ).tolist():
            self.triangulate(frame)

    def polish(self, refine_focal: bool, rounds: int = 2, iterations: int = 8) -> None:
        """Adjusts everything, drops what is off, takes up what fits after all, and adjusts again."""
        for _ in range(rounds):
            self.adjust(iterations=iterations, focal_too=refine_focal)
            self.drop_outliers(MAX_ERROR_PX / 2)
            self.triangulate()
        self.adjust(iterations=iterations, focal_too=refine_focal)
