"""PaddleOCR as detector: reads its files offline, and gives the same boxes.

The network is a made-up one in PaddleOCR's own file format, to which bright pixels are text: its trained weights lie in
no package.
"""

import json

import numpy as np
import pytest

from models.registry import WeightsError
from models.text.boxes import covered_share
from models.text.scorer import TextModel, TextSettings, _MapDetector, check_detector

GAINS_BGR, BIAS = np.array([0.456, 2.348, 1.196], np.float32), -3.0
STEPS = [
    {"DecodeImage": {"channel_first": False, "img_mode": "BGR"}},
    {"DetLabelEncode": None},
    {"DetResizeForTest": {"resize_long": 960}},
    {
        "NormalizeImage": {
            "mean": [0.485, 0.456, 0.406],
            "std": [0.229, 0.224, 0.225],
            "scale": "1./255.",
            "order": "hwc",
        }
    },
    {"ToCHWImage": None},
    {"KeepKeys": {"keep_keys": ["image", "shape", "polys", "ignore_tags"]}},
]
BOXES = {"name": "DBPostProcess", "thresh": 0.3, "box_thresh": 0.6, "max_candidates": 1000, "unclip_ratio": 1.5}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    paddle = pytest.importorskip("paddle", reason="needs paddlepaddle, in an environment of its own (docs/models.md)")
    pytest.importorskip("paddleocr", reason="needs paddleocr, in an environment of its own (docs/models.md)")

    class BrightIsText(paddle.nn.Layer):
        def __init__(self):
            super().__init__()
            self.mix = paddle.nn.Conv2D(3, 1, 1)
            self.mix.weight.set_value(GAINS_BGR.reshape(1, 3, 1, 1))
            self.mix.bias.set_value(np.array([BIAS], np.float32))

        def forward(self, x):
            return paddle.nn.functional.sigmoid(self.mix(x))

    path = tmp_path_factory.mktemp("paddle")
    network = BrightIsText()
    network.eval()
    shape = paddle.static.InputSpec([None, 3, None, None], "float32", name="x")
    paddle.jit.save(network, str(path / "inference"), input_spec=[shape])
    config = {
        "Global": {"model_name": "PP-OCRv5_server_det"},
        "PreProcess": {"transform_ops": STEPS},
        "PostProcess": BOXES,
    }
    (path / "inference.yml").write_text(json.dumps(config))
    return path


def image():
    rng = np.random.default_rng(0)
    made = rng.integers(0, 40, (360, 640, 3), dtype=np.uint8)
    for left, top, wide, high in ((40, 30, 300, 28), (420, 60, 90, 60), (100, 200, 33, 120), (300, 300, 6, 5)):
        made[top : top + high, left : left + wide] = 250
    for step in range(160):
        made[150 + step // 4 : 172 + step // 4, 330 + step] = 250
    return made


def settings(folder, **changes):
    return TextSettings(model="ppocrv5-server-paddle", detector_uri=str(folder), confirm_side_share=None, **changes)


@pytest.mark.models
@pytest.mark.parametrize("changes", [{}, {"limit_type": "min", "limit_side_len_px": 736}, {"unclip_ratio": 2.0}])
def test_boxes_are_those_of_our_own_post_processing(folder, changes):
    theirs = TextModel(settings(folder, **changes)).find_text(image())
    ours = _MapDetector(
        lambda pixels: 1 / (1 + np.exp(-(np.tensordot(GAINS_BGR, pixels[0], 1) + BIAS))), settings(folder, **changes)
    )(image())
    assert len(theirs) == len(ours) == 5
    np.testing.assert_allclose(sorted(theirs.scores), sorted(ours.scores), atol=2e-3)
    for quad in ours.quads_px:
        # Theirs are rounded to pixels.
        assert min(np.abs(quad - other).max() for other in theirs.quads_px) < 2.5
    shares = [covered_share(found.quads_px, (640, 360)) for found in (theirs, ours)]
    assert shares[0] == pytest.approx(shares[1], rel=0.03)


@pytest.mark.models
def test_no_text_is_no_boxes(folder):
    assert TextModel(settings(folder)).text_share(np.zeros((90, 160, 3), np.uint8)) == 0.0


def test_what_is_missing_is_told(monkeypatch, tmp_path):
    monkeypatch.setattr("models.text.scorer.importlib.util.find_spec", lambda name: None)
    with pytest.raises(WeightsError, match=r"needs \['paddle', 'paddleocr'\], which pin another OpenCV"):
        check_detector(settings(tmp_path))
    monkeypatch.setattr("models.text.scorer.importlib.util.find_spec", lambda name: object())
    with pytest.raises(WeightsError, match=r"inference\.pdiparams"):
        check_detector(settings(tmp_path))
