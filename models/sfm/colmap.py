"""Camera poses by COLMAP (optional package pycolmap): SIFT matching, then incremental or global mapping."""

from __future__ import annotations

import importlib
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from pydantic import Field

from core.arrays import BoolArray, Float64Array, UInt8Array
from core.settings import Settings
from models.registry import WeightsError
from models.sfm.estimate import INVERSE_DEPTH_P98, PoseEstimate, PoseRequest, without_poses

MIN_FRAMES = 3
# Focal lengths in units of the longer side: fields of view of 136 to 7 degrees.
PLAUSIBLE_FOCAL = (0.2, 8.0)
# COLMAP has pixel centers at half integers.
CENTER_PX = 0.5


class ColmapSettings(Settings):
    """Settings of COLMAP."""

    mapper: Literal["incremental", "global"] = Field(
        "global",
        description="`global`: all frames at once (GLOMAP); `incremental`: frame by frame, which fails more often "
        "on short clips, most of all with unknown intrinsics.",
    )
    max_features: int = Field(2048, ge=100, description="Most SIFT features per frame. Matching time is quadratic.")
    sequential_overlap: int = Field(
        10, ge=1, description="Following frames that each frame is matched with, and as many at doubling distances."
    )
    exhaustive_max_frames: int = Field(
        60, ge=0, description="Clips of up to this many frames are matched exhaustively."
    )
    least_registered_share: float = Field(
        0.5, ge=0, le=1, description="Share of frames that must be registered for the poses to be fit for use."
    )
    random_seed: int = Field(0, ge=0, description="Seed of RANSAC.")


class ColmapEstimator:
    """Pose estimator that runs COLMAP on the CPU.

    Dynamic pixels get no features. A clip has one pinhole camera, with the principal point at the image center unless
    intrinsics are given. Only general motion is supported: static and rotating cameras get no poses. Equal requests
    give equal poses with one thread; more may change last digits. Scale: the 98th percentile of inverse depth
    over all observations is 2.

    Raises:
      WeightsError: if pycolmap is not installed.
    """

    def __init__(self, settings: ColmapSettings | None = None) -> None:
        self.settings = settings or ColmapSettings()
        self._pycolmap = load_pycolmap()

    def __call__(self, request: PoseRequest) -> PoseEstimate:
        """Camera poses of one clip; see `PoseEstimator`."""
        if len(request.frames) < MIN_FRAMES:
            return without_poses(request, f"COLMAP needs {MIN_FRAMES} frames or more, got {len(request.frames)}")
        with tempfile.TemporaryDirectory(prefix="colmap_") as folder:
            names = _write_frames(request, Path(folder))
            self._match(request, Path(folder), names)
            models = self._map(request, Path(folder))
        if not models:
            return without_poses(request, "COLMAP found no two frames to start from (too little parallax or texture)")
        # The first of the largest, in the order of reconstruction.
        best = max(models, key=lambda model: (model.num_reg_images(), model.num_points3D()))
        return self._make_estimate(request, best, names)

    def _match(self, request: PoseRequest, folder: Path, names: Sequence[str]) -> None:
        colmap, settings = self._pycolmap, self.settings
        colmap.set_random_seed(settings.random_seed)
        reader = colmap.ImageReaderOptions()
        reader.camera_model = "SIMPLE_PINHOLE"
        if request.intrinsics is not None and request.intrinsics_mode != "estimate":
            k = request.intrinsics
            reader.camera_model = "PINHOLE"
            reader.camera_params = ",".join(repr(float(x)) for x in (k.fx, k.fy, k.cx + CENTER_PX, k.cy + CENTER_PX))
        if request.dynamic_masks is not None:
            reader.mask_path = str(folder / "masks")
        extraction = colmap.FeatureExtractionOptions()
        extraction.num_threads, extraction.use_gpu = request.num_threads, False
        extraction.sift.max_num_features = settings.max_features
        colmap.extract_features(
            folder / "database.db",
            folder / "images",
            image_names=list(names),
            camera_mode=colmap.CameraMode.SINGLE,
            reader_options=reader,
            extraction_options=extraction,
            device=colmap.Device.cpu,
        )
        matching = colmap.FeatureMatchingOptions()
        matching.num_threads, matching.use_gpu = request.num_threads, False
        verification = colmap.TwoViewGeometryOptions()
        verification.ransac.random_seed = settings.random_seed
        shared = {
            "matching_options": matching,
            "verification_options": verification,
            "device": colmap.Device.cpu,
        }
        if len(names) <= settings.exhaustive_max_frames:
            colmap.match_exhaustive(folder / "database.db", **shared)
        else:
            pairing = colmap.SequentialPairingOptions()
            pairing.overlap, pairing.num_threads = settings.sequential_overlap, request.num_threads
            colmap.match_sequential(folder / "database.db", pairing_options=pairing, **shared)

    def _map(self, request: PoseRequest, folder: Path) -> list[Any]:
        paths = (folder / "database.db", folder / "images", folder / "models")
        paths[2].mkdir()
        colmap, mode = self._pycolmap, request.intrinsics_mode
        calibration = colmap.ViewGraphCalibrationOptions()
        calibration.random_seed = self.settings.random_seed
        # Focal length from the view graph, if its pairs determine one.
        is_known = mode != "estimate" or colmap.calibrate_view_graph(paths[0], calibration)
        if self.settings.mapper == "global":
            models = colmap.global_mapping(*paths, options=self._global_options(request))
            return [models[key] for key in sorted(models)]
        # Refined on few frames, the focal length often diverges: it is refined at the end, on all frames.
        models = colmap.incremental_mapping(*paths, options=self._incremental_options(request, refine=not is_known))
        for model in models.values():
            if is_known and mode != "fix":
                self._adjust(model, request.num_threads)
        return [models[key] for key in sorted(models)]

    def _incremental_options(self, request: PoseRequest, *, refine: bool) -> Any:
        options = self._pycolmap.IncrementalPipelineOptions()
        options.num_threads, options.random_seed = request.num_threads, self.settings.random_seed
        options.min_model_size, options.extract_colors = MIN_FRAMES, False
        options.ba_refine_focal_length = options.mapper.abs_pose_refine_focal_length = refine
        return options

    def _adjust(self, model: Any, num_threads: int) -> None:
        colmap = self._pycolmap
        options, config = colmap.BundleAdjustmentOptions(), colmap.BundleAdjustmentConfig()
        options.ceres.use_gpu, options.ceres.solver_options.num_threads = False, num_threads
        for image_id in model.reg_image_ids():
            config.add_image(image_id)
        config.fix_gauge(colmap.BundleAdjustmentGauge.TWO_CAMS_FROM_WORLD)
        colmap.create_default_bundle_adjuster(options, config, model).solve()

    def _global_options(self, request: PoseRequest) -> Any:
        options = self._pycolmap.GlobalPipelineOptions()
        options.num_threads, options.random_seed = request.num_threads, self.settings.random_seed
        options.min_model_size = MIN_FRAMES
        bundle = options.mapper.bundle_adjustment
        bundle.refine_focal_length = request.intrinsics_mode != "fix"
        bundle.ceres.use_gpu = options.mapper.global_positioning.use_gpu = False
        return options

    def _make_estimate(self, request: PoseRequest, model: Any, names: Sequence[str]) -> PoseEstimate:
        images = {image.name: image for image in model.images.values() if image.has_pose}
        registered = np.array([name in images for name in names])
        first = images[names[int(registered.argmax())]].cam_from_world()
        poses = np.full((len(names), 7), np.nan)
        for k, name in enumerate(names):
            if registered[k]:
                pose = images[name].cam_from_world() * first.inverse()
                poses[k] = [*pose.translation, *pose.rotation.quat]
        (camera,) = model.cameras.values()
        reason = self._failure_reason(registered, max(camera.focal_length_x, camera.focal_length_y) / max(request.size))
        points = np.array([point.xyz for _, point in sorted(model.points3D.items())]).reshape(-1, 3)
        points = points @ first.rotation.matrix().T + first.translation
        reprojection, depths = _measure_points(model, camera, images.values())
        scale = float(np.percentile(1 / depths, 98)) / INVERSE_DEPTH_P98 if len(depths) else 1.0
        poses[:, :3] *= scale
        return PoseEstimate(
            cam_from_world=poses,
            registered=registered,
            intrinsics_px=np.array(
                [
                    camera.focal_length_x,
                    camera.focal_length_y,
                    camera.principal_point_x - CENTER_PX,
                    camera.principal_point_y - CENTER_PX,
                ]
            ),
            motion_kind="general",
            pose_ok=reason is None,
            reason=reason,
            points_world=points * scale,
            reprojection_px=reprojection,
        )

    def _failure_reason(self, registered: BoolArray, focal: float) -> str | None:
        if registered.mean() < self.settings.least_registered_share:
            return f"COLMAP placed {registered.sum()} of {len(registered)} frames"
        if not PLAUSIBLE_FOCAL[0] <= focal <= PLAUSIBLE_FOCAL[1]:
            return f"COLMAP's focal length of {focal:.3g} times the longer side is not that of a video camera"
        return None


def load_pycolmap() -> Any:
    """The package pycolmap with its log silenced; failures are in the estimates.

    Raises:
      WeightsError: if it is not installed.
    """
    try:
        colmap = importlib.import_module("pycolmap")
    except ImportError as error:
        raise WeightsError(
            f"poses by COLMAP need the package pycolmap, which cannot be imported ({error}). "
            "Remedy: pip install 'pycolmap>=4.2,<5', or set annotate.pose.model=classical."
        ) from error
    colmap.logging.minloglevel = colmap.logging.FATAL.value
    return colmap


def _write_frames(request: PoseRequest, folder: Path) -> list[str]:
    """Writes images and masks for COLMAP; returns the image names in order."""
    (folder / "images").mkdir()
    (folder / "masks").mkdir()
    names = [f"{k:06d}.png" for k in range(len(request.frames))]
    for k, (name, frame) in enumerate(zip(names, request.frames, strict=True)):
        _write_png(folder / "images" / name, np.ascontiguousarray(frame[..., ::-1]))
        if request.dynamic_masks is not None:
            # COLMAP extracts no features where a mask is black.
            _write_png(folder / "masks" / f"{name}.png", np.where(request.dynamic_masks[k], 0, 255).astype(np.uint8))
    return names


def _write_png(path: Path, image: UInt8Array) -> None:
    ok, data = cv2.imencode(".png", image, [cv2.IMWRITE_PNG_COMPRESSION, 1])
    if not ok:
        raise ValueError(f"an image of shape {image.shape} cannot be written as PNG")
    path.write_bytes(data.tobytes())


def _measure_points(model: Any, camera: Any, images: Any) -> tuple[float | None, Float64Array]:
    """RMS reprojection error in pixels, and depths of observations."""
    squares: list[Float64Array] = []
    depths: list[Float64Array] = [np.zeros(0)]
    for image in images:
        keypoints = image.get_observation_points2D()
        if keypoints:
            points = np.array([model.points3D[point.point3D_id].xyz for point in keypoints])
            pose = image.cam_from_world()
            in_camera = points @ pose.rotation.matrix().T + pose.translation
            residual = camera.img_from_cam(in_camera, check_cheirality=False) - np.array(
                [point.xy for point in keypoints]
            )
            squares.append((residual**2).sum(1))
            depths.append(in_camera[in_camera[:, 2] > 0, 2])
    reprojection = float(np.sqrt(np.concatenate(squares).mean())) if squares else None
    return reprojection, np.concatenate(depths)
