"""Self-calibration of a reconstruction: whether its focal length changes, and how uncertain its camera centers are.

A bundle adjustment (Triggs et al. 2000) with free points, poses and lens: the logarithm of the focal length is a
quadratic of time, and one coefficient of radial distortion is added. A zoom during translation fits a constant focal
length with small residuals and a wrong path; here it shows as a change of the focal length.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from core.arrays import BoolArray, Float64Array
from models.sfm.reconstruction import Reconstruction
from native import se3
from native.elementary import exp, log

MIN_FRAMES = 4
MIN_POINTS = 30
MIN_OBSERVATIONS = 3
MAX_POINTS = 600
"""Points with the most observations that the lens is estimated from."""
MAX_COVARIANCE_POINTS = 1500
MAX_ITERATIONS = 12
MIN_COST_DECREASE = 1e-5
"""Relative decrease of the cost below which the iteration ends."""
INITIAL_DAMPING, MIN_DAMPING, MAX_DAMPING = 1e-6, 1e-9, 1e2
DAMPING_FACTOR = 10.0
LENS_LOSS_SIGMAS, MIN_LENS_LOSS_PX = 3.0, 0.2
COVARIANCE_LOSS_SIGMAS = 2.0
SIGMA_PER_MEDIAN = 1.4826
"""Standard deviation of a normal distribution over its median absolute deviation."""
GAUGE_FREEDOM = 7
MIN_EIGENVALUE = 1e-9
BEHIND_COST = 5.0
TINY = 1e-12


@dataclass(frozen=True, slots=True, kw_only=True)
class SelfCalibration:
    """Result of the self-calibration.

    Attributes:
      focal_change: larger coefficient, linear or quadratic, of the logarithm of the focal length over time, which runs
        from -1 to 1 over the registered frames.
      position_sigma: standard deviation of the camera centers after Sim(3) alignment, by the covariance of the bundle
        adjustment with constant focal length, as a share of the trajectory's length.
    """

    focal_change: float
    position_sigma: float


def self_calibrate(recon: Reconstruction, times_s: Float64Array) -> SelfCalibration | None:
    """Refines a copy of a reconstruction with a changing focal length; None with too few frames or points.

    Args:
      recon: a finished reconstruction; not changed.
      times_s: (n,) seconds of its frames.
    """
    frames = np.flatnonzero(recon.is_registered)
    observed = recon.is_observed & recon.is_registered[:, None]
    count = np.where(np.isfinite(recon.inverse_depth), observed.sum(axis=0), 0)
    covariance_points = np.flatnonzero(count >= 2)
    lens_points = np.flatnonzero(count >= MIN_OBSERVATIONS)
    if len(frames) < MIN_FRAMES or len(lens_points) < MIN_POINTS:
        return None
    stride = -(-len(covariance_points) // MAX_COVARIANCE_POINTS)
    chosen = covariance_points[::stride]
    sigma = _position_sigma(_Bundle.of(recon, frames, chosen, times_s))
    best = np.sort(lens_points[np.argsort(-count[lens_points], kind="stable")[:MAX_POINTS]])
    lens = _refine(_Bundle.of(recon, frames, best, times_s))
    return SelfCalibration(
        focal_change=float(np.abs(lens[1:3]).max()),
        position_sigma=sigma * float(np.sqrt(len(chosen) / len(covariance_points))),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Bundle:
    """Cameras, points and lens with the keypoints that they explain.

    Attributes:
      keypoints_px: (n, m, 2) relative to the principal point.
      is_observed: (n, m) bool.
      focal_px: focal length without a change of the lens.
      basis: (n, 3) constant, linear and quadratic function of time.
      rotation: (n, 3, 3) camera from world.
      center: (n, 3) in the world.
      points: (m, 3) in the world.
      lens: (4,) coefficients of the logarithm of the focal length, then radial distortion as in OpenCV's k1.
    """

    keypoints_px: Float64Array
    is_observed: BoolArray
    focal_px: float
    basis: Float64Array
    rotation: Float64Array
    center: Float64Array
    points: Float64Array
    lens: Float64Array

    @staticmethod
    def of(recon: Reconstruction, frames: np.ndarray, points: np.ndarray, times_s: Float64Array) -> _Bundle:
        """The registered frames and some points of a reconstruction."""
        time = np.asarray(times_s, np.float64)[frames]
        time = 2 * (time - time[0]) / max(float(time[-1] - time[0]), TINY) - 1
        matrix = np.asarray(se3.to_matrix(recon.cam_from_world[frames]))
        return _Bundle(
            keypoints_px=recon.keypoints_px[np.ix_(frames, points)] - recon.intrinsics_px[2:],
            is_observed=recon.is_observed[np.ix_(frames, points)],
            focal_px=float(recon.intrinsics_px[0]),
            basis=np.stack([np.ones(len(time)), time, time**2 - (time**2).mean()], axis=1),
            rotation=matrix[:, :3, :3],
            center=np.asarray(se3.invert(recon.cam_from_world[frames]))[:, :3],
            points=recon.world_points(points),
            lens=np.zeros(4),
        )

    def moved(self, cameras: Float64Array, points: Float64Array, lens: Float64Array) -> _Bundle:
        """The bundle after a step: (n, 6) of centers and rotations in camera axes, (m, 3), and leading (e,) of lens."""
        turn = np.asarray(se3.to_matrix(se3.exp(np.concatenate([np.zeros_like(self.center), cameras[:, 3:]], axis=1))))
        return _Bundle(
            keypoints_px=self.keypoints_px,
            is_observed=self.is_observed,
            focal_px=self.focal_px,
            basis=self.basis,
            rotation=turn[:, :3, :3] @ self.rotation,
            center=self.center + cameras[:, :3],
            points=self.points + points,
            lens=self.lens + np.pad(lens, (0, 4 - len(lens))),
        )


@dataclass(frozen=True, slots=True)
class _Projection:
    """Points in the cameras: (n, m, 3) coordinates, (n, m, 2) residuals in pixels, 0 where not observed in front."""

    local: Float64Array
    is_valid: BoolArray
    scale_px: Float64Array
    radius2: Float64Array
    projected_px: Float64Array
    residual_px: Float64Array

    @staticmethod
    def of(bundle: _Bundle) -> _Projection:
        """Projects all points into all cameras."""
        local = (bundle.points - bundle.center[:, None]) @ bundle.rotation.transpose(0, 2, 1)
        is_valid = bundle.is_observed & (local[..., 2] > TINY)
        local[~is_valid] = [0, 0, 1]
        ray = local[..., :2] / local[..., 2:]
        radius2 = np.square(ray).sum(axis=-1)
        focal = bundle.focal_px * np.asarray(exp(bundle.basis @ bundle.lens[:3]))
        scale = focal[:, None] * (1 + bundle.lens[3] * radius2)
        projected = scale[..., None] * ray
        residual = np.where(is_valid[..., None], bundle.keypoints_px - projected, 0)
        return _Projection(local, is_valid, scale, radius2, projected, residual)

    @property
    def sigma_px(self) -> float:
        """Robust standard deviation of each coordinate of the residuals."""
        return SIGMA_PER_MEDIAN * float(np.median(np.abs(self.residual_px[self.is_valid])))

    def cost(self, loss_px: float, num_observed: int) -> float:
        """Cauchy loss; observations behind a camera cost a constant."""
        squares = np.square(self.residual_px[self.is_valid]).sum(axis=-1) / loss_px**2
        return float(np.asarray(log(1 + squares)).sum()) + BEHIND_COST * (num_observed - int(self.is_valid.sum()))


@dataclass(frozen=True, slots=True)
class _NormalEquations:
    """Gauss-Newton equations in cameras, lens and points, with the points eliminated by the Schur complement."""

    cameras: Float64Array
    gradient: Float64Array
    coupling: Float64Array
    points: Float64Array
    points_gradient: Float64Array

    @staticmethod
    def of(bundle: _Bundle, at: _Projection, loss_px: float, num_lens: int) -> _NormalEquations:
        """Linearizes the residuals, weighted by the Cauchy loss, in the first parameters of the lens."""
        n, m = at.is_valid.shape
        x, y, z = np.moveaxis(at.local, -1, 0)
        ray = at.local[..., :2] / z[..., None]
        by_local = np.zeros((n, m, 2, 3))
        radial = 2 * bundle.lens[3] * (at.scale_px / (1 + bundle.lens[3] * at.radius2) / z)
        for k in range(2):
            by_local[..., k, k] = at.scale_px / z
            by_local[..., k, :2] += radial[..., None] * ray[..., k, None] * ray
            by_local[..., k, 2] = -at.scale_px * ray[..., k] / z - radial * ray[..., k] * at.radius2
        by_point = by_local @ bundle.rotation[:, None]
        turn = np.zeros((n, m, 3, 3))
        turn[..., 0, 1], turn[..., 0, 2], turn[..., 1, 2] = z, -y, x
        turn[..., 1, 0], turn[..., 2, 0], turn[..., 2, 1] = -z, y, -x
        focal = at.projected_px[..., None] * bundle.basis[:, None, None]
        distortion = (at.projected_px / (1 + bundle.lens[3] * at.radius2)[..., None] * at.radius2[..., None])[..., None]
        weight = np.where(at.is_valid, 1 / (1 + np.square(at.residual_px).sum(axis=-1) / loss_px**2), 0)
        root = np.sqrt(weight)[..., None, None]
        by_camera = root * np.concatenate([-by_point, by_local @ turn], axis=-1)
        by_lens = root * np.concatenate([focal, distortion], axis=-1)[..., :num_lens]
        by_point = root * by_point
        residual = root * at.residual_px[..., None]
        size = 6 * n
        cameras = np.zeros((size + num_lens, size + num_lens))
        blocks = np.einsum("nmki,nmkj->nij", by_camera, by_camera)
        for k in range(n):
            cameras[6 * k : 6 * k + 6, 6 * k : 6 * k + 6] = blocks[k]
        shared = np.einsum("nmki,nmke->nie", by_camera, by_lens).reshape(size, num_lens)
        cameras[:size, size:], cameras[size:, :size] = shared, shared.T
        flat = by_lens.reshape(-1, num_lens)
        cameras[size:, size:] = flat.T @ flat
        gradient = np.concatenate(
            [np.einsum("nmki,nmkl->ni", by_camera, residual).ravel(), flat.T @ residual.reshape(-1)]
        )
        coupling = np.concatenate(
            [
                np.einsum("nmki,nmkj->mnij", by_camera, by_point).reshape(m, size, 3),
                np.einsum("nmke,nmkj->mej", by_lens, by_point),
            ],
            axis=1,
        )
        points = np.einsum("nmki,nmkj->mij", by_point, by_point)
        trace = np.trace(points, axis1=1, axis2=2)[:, None, None]
        return _NormalEquations(
            cameras,
            gradient,
            coupling,
            points + (1e-9 * trace + TINY) * np.eye(3),
            np.einsum("nmki,nmkl->mi", by_point, residual),
        )

    def reduced(self, damping: float) -> tuple[Float64Array, Float64Array, Float64Array]:
        """Schur complement, its right side, and the inverse (m, 3, 3) of the damped blocks of the points."""
        inverse = np.asarray(np.linalg.inv(self.points * (1 + damping * np.eye(3))), np.float64)
        product = self.coupling @ inverse
        m, size, _ = product.shape
        left, right = (a.transpose(1, 0, 2).reshape(size, 3 * m) for a in (product, self.coupling))
        return self.cameras - left @ right.T, self.gradient - left @ self.points_gradient.reshape(-1), inverse

    def step(self, damping: float) -> tuple[Float64Array, Float64Array]:
        """Levenberg-Marquardt step of cameras and lens, (6 n + e,), and of points, (m, 3)."""
        matrix, gradient, inverse = self.reduced(damping)
        scale = self.scale
        normalized = matrix / scale[:, None] / scale + (1e-8 + damping) * np.eye(len(scale))
        step = np.linalg.solve(normalized, gradient / scale) / scale
        remaining = self.points_gradient - np.einsum("mai,a->mi", self.coupling, step)
        return step, np.einsum("mij,mj->mi", inverse, remaining)

    @property
    def scale(self) -> Float64Array:
        """Square root of the diagonal, by which the equations are normalized."""
        return np.asarray(np.sqrt(np.maximum(np.diag(self.cameras), TINY)))


def _refine(bundle: _Bundle) -> Float64Array:
    """(4,) lens after Levenberg-Marquardt over cameras, points and lens."""
    at = _Projection.of(bundle)
    loss = max(LENS_LOSS_SIGMAS * at.sigma_px, MIN_LENS_LOSS_PX)
    num_observed = int(bundle.is_observed.sum())
    cost, damping = at.cost(loss, num_observed), INITIAL_DAMPING
    for _ in range(MAX_ITERATIONS):
        equations = _NormalEquations.of(bundle, at, loss, 4)
        while damping <= MAX_DAMPING:
            cameras, points = equations.step(damping)
            tried = bundle.moved(cameras[:-4].reshape(-1, 6), points, cameras[-4:])
            projection = _Projection.of(tried)
            next_cost = projection.cost(loss, num_observed)
            if next_cost < cost:
                break
            damping *= DAMPING_FACTOR
        else:
            break
        decrease = (cost - next_cost) / cost
        bundle, at, cost = tried, projection, next_cost
        damping = max(damping / DAMPING_FACTOR, MIN_DAMPING)
        if decrease < MIN_COST_DECREASE:
            break
    return bundle.lens


def _position_sigma(bundle: _Bundle) -> float:
    """Root mean square standard deviation of camera centers after Sim(3) alignment, as a share of the path's length.

    The covariance is the pseudo-inverse of the Schur complement without its gauge freedom (Triggs et al. 2000, sec. 9).
    """
    at = _Projection.of(bundle)
    sigma = at.sigma_px
    equations = _NormalEquations.of(bundle, at, COVARIANCE_LOSS_SIGMAS * max(sigma, 1e-3), 1)
    scale = equations.scale
    values, vectors = np.linalg.eigh(equations.reduced(0.0)[0] / scale[:, None] / scale)
    inverse = np.where(values > MIN_EIGENVALUE, 1 / np.maximum(values, TINY), 0)
    inverse[:GAUGE_FREEDOM] = 0
    n = len(bundle.center)
    of_centers = (6 * np.arange(n)[:, None] + np.arange(3)).ravel()
    root = (vectors / scale[:, None])[of_centers] * np.sqrt(inverse)
    offset = bundle.center - bundle.center.mean(axis=0)
    gauge = np.zeros((n, 3, GAUGE_FREEDOM))
    for axis in range(3):
        gauge[:, axis, axis] = 1
        gauge[:, :, 3 + axis] = np.cross(np.eye(3)[axis], offset)
    gauge[:, :, 6] = offset
    basis, _ = np.linalg.qr(gauge.reshape(3 * n, GAUGE_FREEDOM))
    aligned = root - basis @ (basis.T @ root)
    length = float(np.linalg.norm(np.diff(bundle.center, axis=0), axis=1).sum())
    return sigma * float(np.sqrt(np.square(aligned).sum() / n)) / max(length, TINY)
