"""MegaSaM in the whole job: random weights, on a CPU, at tiny sizes."""

from __future__ import annotations

import numpy as np
import pytest

from beam_pipeline.cli.main import main
from explore.outputs import read_accounting, read_table
from models.annotation import slam_geometry as tracked_module
from models.depth.mono_depth import FrameDepths
from models.registry import ResolvedModel
from tests.support.films import write_film
from tests.support.paths import EXAMPLES
from transforms import depth as depth_stage
from transforms import slam as stage_module
from transforms.handlers import depth as depth_handler
from transforms.handlers import slam as handler_module

torch = pytest.importorskip("torch", reason="needs the models extra")

pytestmark = pytest.mark.models
SETTINGS = [
    "--set=thresholds.limits={motion_score: null, luminance_score: null, ocr_score: null, aesthetic_score: null}",
    "--set=text.model=none",
    "--set=analysis.clips={min_s: 0.4, trim_start_s: 0, trim_end_s: 0}",
    "--set=annotate.max_side_px=112",
    "--set=annotate.depth={metric: moge-2-vitl, device: cpu, input_max_side_px: 112}",
    "--set=annotate.pose={model: megasam, megasam: {device: cpu, tracker: {probe_steps: 1, keyframe_steps: 1, "
    "final_steps: 1}, consistency: {align_steps: 2, refine_steps: 2}}}",
    "--no-progress",
    "--direct_num_workers=1",
]


class Slope:
    """Sees a floor that rises into the distance."""

    kind = "metric"
    halvings = 0

    def predict(self, frames_rgb_u8, size):
        rows = np.linspace(6.0, 2.0, size[1], dtype=np.float32)
        maps = np.broadcast_to(rows[:, None], (len(frames_rgb_u8), size[1], size[0])).copy()
        return FrameDepths(maps=maps, is_valid=np.ones(maps.shape, bool), focal_px=np.full(len(maps), size[0] * 0.9))


@pytest.fixture
def weights(monkeypatch, tmp_path):
    """Random weights in the published key names instead of those that the registry knows."""
    from models.flow.raft import RaftNetwork
    from models.slam.network import TrackingNetwork

    torch.manual_seed(0)
    paths = {}
    for model_id, network in (("megasam", TrackingNetwork()), ("raft-things", RaftNetwork())):
        paths[model_id] = tmp_path / f"{model_id}.pth"
        torch.save({f"module.{key}": value for key, value in network.state_dict().items()}, paths[model_id])
    found = ResolvedModel(paths={"model.pt": "/model.pt"}, digest="ab" * 32)
    monkeypatch.setattr(depth_stage, "check_depth_models", lambda settings: {"metric": found})
    monkeypatch.setattr(depth_handler, "load_depth_models", lambda settings: [Slope()])
    monkeypatch.setattr(stage_module, "resolve_model", lambda card, uri: found)
    monkeypatch.setattr(handler_module, "resolve_weights", lambda card, uri: str(paths[card.model_id]))
    return paths


def test_cameras_depth_and_masks_reach_the_tables(weights, tmp_path, monkeypatch):
    # Random networks contradict each other.
    monkeypatch.setattr(tracked_module, "_failure_reason", lambda tracked, typical: None)
    films = tmp_path / "films"
    films.mkdir()
    write_film(films / "orbit.mp4", "orbit", seconds=1.4, fps=10)
    write_film(films / "pan.mp4", "Pan Right", seconds=1.4, fps=10)
    output = tmp_path / "out"
    assert main(["--input", str(films), "--output", str(output), *SETTINGS]) == 0
    rows = read_table(str(output), "clips").to_pylist()
    assert len(rows) == 2
    assert read_accounting(str(output)).clips_failed == 0
    for row in rows:
        assert row["pose_model"] == "megasam@abababababababab"
        assert row["pose_ok"], row["pose_reason"]
        assert row["meters_per_unit"] > 0
        assert row["depth_valid_share"] > 0
        assert row["dynamic_ratio"] is not None


def test_the_tracker_needs_depth(tmp_path, capsys):
    assert main(["--input", str(tmp_path), "--output", str(tmp_path / "out"), "--set=annotate.pose.model=megasam"]) != 0
    assert "annotate.depth.metric" in "".join(capsys.readouterr())


def test_missing_weights_stop_the_job(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("SPATIALBEAM_MODELS", str(tmp_path / "models"))
    found = ResolvedModel(paths={"model.pt": "/model.pt"}, digest="ab" * 32)
    monkeypatch.setattr(depth_stage, "check_depth_models", lambda settings: {"metric": found})
    assert main(["--input", str(EXAMPLES), "--output", str(tmp_path / "out"), *SETTINGS]) != 0
    assert "models fetch megasam" in "".join(capsys.readouterr())


def test_tracked_frames_survive_their_file():
    from models.slam.tracked_frames import TrackedFrames

    rng = np.random.default_rng(0)
    tracked = TrackedFrames(
        frame=np.array([0, 3, 6]),
        cam_from_world=rng.normal(size=(3, 7)),
        intrinsics_px=np.array([90.0, 90.0, 50.0, 30.0]),
        inverse_depth=rng.uniform(0, 2, (3, 6, 8)).astype(np.float32),
        static=rng.uniform(0, 1, (3, 6, 8)).astype(np.float32),
        disagreement=rng.uniform(0, 1, (3, 3, 4)).astype(np.float32),
        residual_px=np.array([0.5, np.nan, 1.0], np.float32),
        meters_per_unit=None,
        focal_observed=True,
    )
    read = TrackedFrames.from_bytes(tracked.to_bytes()).of_frames(np.array([3, 6]), (16, 12))
    assert np.array_equal(read.cam_from_world, tracked.cam_from_world[1:])
    assert read.inverse_depth.shape == read.disagreement.shape == (2, 12, 16)
    assert np.array_equal(read.residual_px, tracked.residual_px[1:], equal_nan=True)
    assert read.meters_per_unit is None and read.focal_observed
    with pytest.raises(ValueError, match="not all of"):
        read.of_frames(np.array([4]), (8, 6))
