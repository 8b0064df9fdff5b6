"""Depth networks in the whole job, by a double: batches, files, columns, cache."""

from __future__ import annotations

import numpy as np
import pytest

from beam_pipeline.cli.main import main
from explore.outputs import read_accounting, read_table
from models.depth.mono_depth import FrameDepths
from models.registry import ResolvedModel
from tests.support.films import write_film
from transforms import depth as stage_module
from transforms.handlers import depth as handler_module

KEEP_ALL = [
    "--set=thresholds.limits={motion_score: null, luminance_score: null, ocr_score: null, aesthetic_score: null}",
    "--set=text.model=none",
    "--set=analysis.clips={min_s: 0.4, trim_start_s: 0, trim_end_s: 0}",
    "--set=annotate.max_side_px=160",
    "--set=annotate.depth={metric: moge-2-vitl, device: cpu, input_max_side_px: 200}",
    "--no-progress",
    "--direct_num_workers=1",
]


class Wall:
    """Sees a wall three meters off, everywhere; remembers what it was given."""

    kind = "metric"
    halvings = 0

    def __init__(self, is_blind: bool = False) -> None:
        self.given: list[tuple[int, tuple[int, ...]]] = []
        self.is_blind = is_blind

    def predict(self, frames_rgb_u8, size):
        self.given.append((len(frames_rgb_u8), frames_rgb_u8[0].shape))
        self.halvings += 1
        maps = np.full((len(frames_rgb_u8), size[1], size[0]), np.nan if self.is_blind else 3.0, np.float32)
        return FrameDepths(maps=maps, is_valid=np.ones(maps.shape, bool), focal_px=np.full(len(maps), 100.0))


@pytest.fixture
def wall(monkeypatch):
    wall = Wall()
    found = {"metric": ResolvedModel(paths={"model.pt": "/model.pt"}, digest="ab" * 32)}
    monkeypatch.setattr(stage_module, "check_depth_models", lambda settings: found)
    monkeypatch.setattr(handler_module, "load_depth_models", lambda settings: [wall])
    return wall


def run(inputs, output):
    return main(["--input", str(inputs), "--output", str(output), *KEEP_ALL])


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    folder = tmp_path_factory.mktemp("films")
    write_film(folder / "orbit.mp4", "orbit", seconds=2.0, fps=10)
    write_film(folder / "pan.mp4", "Pan Right", seconds=2.0, fps=10)
    return folder


def test_depth_of_networks_reaches_the_tables(films, tmp_path, wall):
    assert run(films, tmp_path / "out") == 0
    rows = read_table(str(tmp_path / "out"), "clips").to_pylist()
    assert len(rows) == 2
    assert {row["depth_metric_model"] for row in rows} == {"moge-2-vitl@abababababababab"}
    assert {row["depth_relative_model"] for row in rows} == {None}
    by_kind = {row["camera_motion_kind"]: row for row in rows}
    assert by_kind["general"]["meters_per_unit"] > 0 and by_kind["general"]["depth_valid_share"] > 0.9
    assert by_kind["rotation"]["meters_per_unit"] == 1.0 and by_kind["rotation"]["depth_valid_share"] == 1.0
    # Frames at the networks' size, 5 a second, those of both clips together where a batch held both.
    assert sum(count for count, _ in wall.given) == 20
    assert {shape for _, shape in wall.given} == {(112, 200, 3)}
    seen = len(wall.given)
    assert run(films, tmp_path / "out") == 0
    assert len(wall.given) == seen


def test_what_is_no_number_is_a_failure_of_that_clip(films, tmp_path, wall):
    wall.is_blind = True
    assert run(films / "pan.mp4", tmp_path / "out") == 0
    accounting = read_accounting(str(tmp_path / "out"))
    (failure,) = read_table(str(tmp_path / "out"), "failures").to_pylist()
    assert failure["error_class"] == "DepthNotFinite" and "annotate.depth.precision" in failure["message"]
    assert accounting.clips_failed == 1
