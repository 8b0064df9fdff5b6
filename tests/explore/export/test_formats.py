"""Exports opened by their programs or independent readers show the same geometry."""

from __future__ import annotations

import csv
import importlib.util
import io
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest

from beam_pipeline.cli.main import main
from explore.clips import ShardReader, find_clips
from explore.export import export_clips
from explore.export.spatialvid import depth_size
from explore.outputs import OutputError

needs_exr = pytest.mark.skipif(importlib.util.find_spec("OpenEXR") is None, reason="OpenEXR is not installed")


def export(annotated, folder, name, where=None):
    return export_clips(annotated.path, name, str(folder), where)


def contents(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in Path(folder).rglob("*") if p.is_file()}


def matrices(poses):
    """(n, 4, 4) of (n, 7) poses, by the textbook formula."""
    made = np.tile(np.eye(4), (len(poses), 1, 1))
    x, y, z, w = poses[:, 3:].T
    made[:, 0, :3] = np.stack([1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)], axis=1)
    made[:, 1, :3] = np.stack([2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)], axis=1)
    made[:, 2, :3] = np.stack([2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)], axis=1)
    made[:, :3, 3] = poses[:, :3]
    return made


@pytest.mark.skipif(importlib.util.find_spec("pycolmap") is None, reason="pycolmap is not installed")
def test_pycolmap_opens_the_model(annotated, tmp_path):
    import pycolmap

    assert export(annotated, tmp_path, "colmap").clips == 3
    made = annotated.films["aaaa_00001"]
    model = pycolmap.Reconstruction(str(tmp_path / "aaaa_00001" / "sparse" / "0"))
    assert (model.num_cameras(), model.num_images()) == (6, 6)
    assert model.num_points3D() > 1000
    for image in model.images.values():
        frame = int(image.name[6:11])
        assert np.allclose(image.cam_from_world().matrix(), matrices(made.cam_from_world)[frame, :3], atol=1e-9)
        rgb = cv2.imread(str(tmp_path / "aaaa_00001" / "images" / image.name))
        assert rgb.shape[:2] == (108, 192)
    # A point of the model, seen by COLMAP's own camera, has the color of the image there.
    image = next(i for i in model.images.values() if i.name == "frame_00000.jpg")
    rgb = cv2.imread(str(tmp_path / "aaaa_00001" / "images" / image.name))[:, :, ::-1]
    errors = []
    for point in list(model.points3D.values())[:400]:
        x, y = image.project_point(point.xyz) - 0.5
        errors.append([np.abs(rgb[round(y), round(x) - k].astype(int) - point.color).mean() for k in (0, 8)])
    there, elsewhere = np.mean(errors, axis=0)
    assert there < 0.5 * elsewhere


@needs_exr
def test_an_independent_reader_of_the_published_layout_gets_the_truth(annotated, tmp_path):
    """Reads the layout as users of SpatialVID do; compares with the film's truth."""
    import OpenEXR

    done = export(annotated, tmp_path, "spatialvid")
    assert (done.clips, done.left_out) == (3, {"no texture": 1})
    table = list(csv.DictReader((tmp_path / "data/train/SpatialVID_metadata.csv").open()))
    assert len(table[0]) == 22
    assert list(table[0])[:8] == [
        *("id", "group id", "video path", "annotation path", "num frames", "fps", "resolution", "aesthetic score")
    ]
    assert (table[0]["group id"], table[0]["resolution"], table[0]["aesthetic score"]) == ("1", "192x108", "")
    for row in table:
        made = annotated.films[row["id"]]
        folder = tmp_path / "annotations" / row["annotation path"]
        head, *lines = (folder / "indexes.txt").read_text().splitlines()
        assert len(head.split()) == 4 and int(head.split()[-1]) == len(lines)
        frames = [int(line.split()[1]) for line in lines]
        poses, intrinsics = np.load(folder / "poses.npy"), np.load(folder / "intrinsics.npy")
        assert np.allclose(poses, made.cam_from_world[frames])
        assert np.allclose(intrinsics * [192, 108, 192, 108], made.intrinsics_px[frames] + [0, 0, 0.5, 0.5])
        assert (tmp_path / "videos" / row["video path"]).stat().st_size > 1000
        masks = np.load(folder / "dyn_masks.npz")
        assert masks["shape"].tolist() == [108, 192] and len(masks.files) == 3 * len(frames) + 1
        for i, frame in enumerate(frames):
            rows = np.repeat(np.arange(108), np.diff(masks[f"f_{i}_indptr"]))
            mask = np.zeros((108, 192), bool)
            mask[rows, masks[f"f_{i}_indices"]] = True
            assert (mask != made.moving[frame]).mean() < 0.02
        if row["id"] == "bbbb_00000":
            continue
        depths = zipfile.ZipFile(tmp_path / "depths" / f"{row['annotation path']}.zip")
        assert depths.namelist() == [f"{i:05d}.exr" for i in range(len(frames))]
        for i, frame in enumerate(frames):
            (tmp_path / "one.exr").write_bytes(depths.read(f"{i:05d}.exr"))
            inverse = OpenEXR.File(str(tmp_path / "one.exr")).channels()["Z"].pixels
            assert inverse.shape == (328, 584) and inverse.dtype == np.float16
            depth = cv2.resize(
                (1 / inverse.astype(np.float32)).clip(1e-3, 1e2), (192, 108), interpolation=cv2.INTER_AREA
            )
            assert np.median(np.abs(depth / made.depth_m[frame] - 1)) < 0.01


def test_frames_without_a_pose_are_left_out_and_the_rest_still_fit(annotated, tmp_path):
    from explore.export.frames import ExportFrames
    from explore.export.spatialvid import annotation_files

    clip = ShardReader(annotated.path).read(find_clips(annotated.path)[0])
    clip.trajectory.cam_from_world[1] = np.nan
    files = annotation_files(ExportFrames(clip, clip.trajectory))
    assert [line.split() for line in files["indexes.txt"].decode().splitlines()[1:3]] == [["0", "0"], ["1", "4"]]
    assert np.isfinite(np.load(io.BytesIO(files["poses.npy"]))).all()
    assert json.loads(files["instructions.json"]) == {"0->2": ["Dolly In"], "2->4": ["Stay"]}


def test_nerfstudio_cameras_see_what_the_film_shows(annotated, tmp_path):
    """Depth pixels reproject correctly by nerfstudio's rules.

    OpenGL axes, camera to world, pixel centers at halves.
    """
    export(annotated, tmp_path, "nerfstudio", "clip_id = 'aaaa_00001'")
    scene = json.loads((tmp_path / "aaaa_00001" / "transforms.json").read_text())
    made = annotated.films["aaaa_00001"]
    assert (scene["w"], scene["h"], len(scene["frames"])) == (192, 108, 6)
    for entry, frame in zip(scene["frames"], range(0, 12, 2), strict=True):
        folder = tmp_path / "aaaa_00001"
        depth = cv2.imread(str(folder / entry["depth_file_path"]), cv2.IMREAD_UNCHANGED) * 1e-3
        assert cv2.imread(str(folder / entry["mask_path"])).shape == cv2.imread(str(folder / entry["file_path"])).shape
        y, x = np.mgrid[5:100:10, 5:180:10]
        z = depth[y, x]
        rays = np.stack([(x + 0.5 - entry["cx"]) / entry["fl_x"], -(y + 0.5 - entry["cy"]) / entry["fl_y"], -z / z])
        world = np.tensordot(np.array(entry["transform_matrix"])[:3, :3], rays * z, 1)
        world += np.array(entry["transform_matrix"])[:3, 3, None, None]
        pose = matrices(made.cam_from_world)[frame]
        seen = np.tensordot(pose[:3, :3], world, 1) + pose[:3, 3, None, None]
        fx, fy, cx, cy = made.intrinsics_px[frame]
        assert np.allclose(seen[0] / seen[2] * fx + cx, x, atol=1e-6)
        assert np.allclose(seen[1] / seen[2] * fy + cy, y, atol=1e-6)
        assert np.median(np.abs(seen[2] / made.depth_m[frame][y, x] - 1)) < 0.01


@pytest.mark.models
def test_nerfstudios_own_reader_and_rays_see_what_the_film_shows(annotated, tmp_path):
    parser = pytest.importorskip(
        "nerfstudio.data.dataparsers.nerfstudio_dataparser",
        reason="needs nerfstudio; of it the reader is enough (pip install --no-deps)",
    )
    import torch

    export(annotated, tmp_path, "nerfstudio", "clip_id = 'aaaa_00001'")
    made = annotated.films["aaaa_00001"]
    config = parser.NerfstudioDataParserConfig(
        data=tmp_path / "aaaa_00001",
        orientation_method="none",
        center_method="none",
        auto_scale_poses=False,
        eval_mode="all",
        downscale_factor=1,
    )
    read = config.setup().get_dataparser_outputs("train")
    assert [path.stem for path in read.image_filenames] == [f"frame_{i:05d}" for i in range(0, 12, 2)]
    assert all(path.is_file() for path in (*read.image_filenames, *read.mask_filenames))
    assert len(read.mask_filenames) == len(read.metadata["depth_filenames"]) == 6
    y, x = np.mgrid[5:100:10, 5:180:10]
    pixels = torch.from_numpy(np.stack([y, x], axis=-1) + 0.5).float()
    for i, frame in enumerate(range(0, 12, 2)):
        rays = read.cameras.generate_rays(i, coords=pixels, keep_shape=True)
        code = cv2.imread(str(read.metadata["depth_filenames"][i]), cv2.IMREAD_UNCHANGED)
        # Depth is along the axis; rays have length one.
        depth = code[y, x][..., None] * read.metadata["depth_unit_scale_factor"]
        along = depth * rays.metadata["directions_norm"].numpy()
        world = rays.origins.numpy() + along * rays.directions.numpy()
        pose = matrices(made.cam_from_world)[frame]
        seen = world @ pose[:3, :3].T + pose[:3, 3]
        fx, fy, cx, cy = made.intrinsics_px[frame]
        assert np.allclose(seen[..., 0] / seen[..., 2] * fx + cx, x, atol=1e-3)
        assert np.allclose(seen[..., 1] / seen[..., 2] * fy + cy, y, atol=1e-3)
        assert np.median(np.abs(seen[..., 2] / made.depth_m[frame][y, x] - 1)) < 0.01


@pytest.mark.models
@pytest.mark.skipif(importlib.util.find_spec("rerun") is None, reason="rerun-sdk is not installed")
def test_rerun_opens_the_recording(annotated, tmp_path):
    export(annotated, tmp_path, "rerun", "clip_id = 'aaaa_00000'")
    path = tmp_path / "aaaa_00000.rrd"
    tool = [sys.executable, "-m", "rerun", "rrd"]
    subprocess.run([*tool, "verify", str(path)], check=True, capture_output=True)
    printed = subprocess.run([*tool, "print", str(path)], check=True, capture_output=True, text=True).stdout
    for entity in ("/world/path", "/world/camera/image/rgb", "/world/camera/image/depth", "/world/points", "/motion"):
        assert entity in printed


def test_csv_has_all_columns_and_their_meanings(annotated, tmp_path):
    assert export(annotated, tmp_path, "csv").clips == 4
    rows = list(csv.DictReader((tmp_path / "clips.csv").open()))
    assert json.loads(rows[0]["unchecked_limits"]) == ["aesthetic_score"]
    assert rows[0]["aesthetic_score"] == ""
    meanings = {row["column"]: row["meaning"] for row in csv.DictReader((tmp_path / "columns.csv").open())}
    assert set(meanings) == set(rows[0])
    assert "cameras" in json.loads((tmp_path / "conventions.json").read_text())


def test_equal_clips_give_equal_files(annotated, tmp_path):
    for name in ("colmap", "nerfstudio", "csv", *(["spatialvid"] if importlib.util.find_spec("OpenEXR") else [])):
        for copy in ("one", "two"):
            export(annotated, tmp_path / copy / name, name, "clip_id < 'b'")
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_skipped_clips_are_reported(annotated, tmp_path, capsys):
    with pytest.raises(OutputError, match="no kept clip meets"):
        export(annotated, tmp_path, "csv", "num_frames > 1000")
    command = ["export", annotated.path, "--format", "nerfstudio", "--to", str(tmp_path / "n")]
    assert main([*command, "--where", "num_frames >"]) == 2
    assert "the condition 'num_frames >' is wrong" in capsys.readouterr().err
    assert main([*command, "--where", "clip_id >= 'bbbb_00001'"]) == 0
    assert "left out: 1 clips: no texture" in capsys.readouterr().out


def test_a_missing_package_is_an_error_with_the_remedy(annotated, tmp_path, monkeypatch):
    for format_name, package in (("spatialvid", "OpenEXR"), ("rerun", "rerun")):
        monkeypatch.setitem(sys.modules, package, None)
        with pytest.raises(OutputError, match=r"pip install 'spatialbeam\[export\]'"):
            export(annotated, tmp_path, format_name)


def test_published_depth_is_584_by_328_for_wide_images():
    assert depth_size((1280, 720)) == depth_size((1920, 1080)) == (584, 328)
    assert depth_size((720, 1280)) == (328, 584)
    assert depth_size((640, 480)) == (584, 440)
