"""SAM 2.1 with our encoder against the authors' numbers (sam2 1.1.0, same weights)."""

import numpy as np
import pytest

from models.registry import WeightsError
from tests.support.formula_weights import fill_by_formula, fingerprint, wavy_images

pytestmark = pytest.mark.models
torch = pytest.importorskip("torch", reason="needs the models extra")
pytest.importorskip("transformers", reason="needs the models extra")

from models.networks.hiera import TINY
from models.networks.sam2 import load_sam2
from tests.support.published_sam import published_tensors

CLOSE = {"rtol": 5e-4, "atol": 5e-4}
LEVELS = (
    [0.005787, 0.505262, -0.152011, 0.124792, 0.040665, -0.113616, -0.168079, -0.309301, -0.313385, 0.177045],
    [0.004201, 0.473468, -0.0926, -0.787226, -0.563866, -0.461537, -0.088461, 0.4219, -0.379112, -0.534254],
    [0.104025, 1.307332, -0.23615, -0.135486, -1.088245, 2.331332, 1.248026, -1.999897, 0.612706, 0.487722],
)
LOGITS = [-0.20136, 0.410778, -0.21716, -0.170245, 0.01055, 0.192985, -0.596195, -0.841309, -0.110806, 0.124646]
SCORES = [0.509487, 0.497234]
# Of the frame behind the one whose mask is given.
CARRIED = [-0.10879, 0.42188, -0.06457, -0.95246, -0.2864, -0.54738, -0.02004, -0.15354, 0.22328, 0.71808]


def published_state() -> dict:
    """What sam2.1_hiera_tiny.pt holds under `model`, with values by formula."""
    tensors = published_tensors(TINY)
    holder = torch.nn.Module()
    holder.state_dict = lambda: {name: tensors[name] for name in tensors}  # type: ignore[method-assign]
    fill_by_formula(holder, 0.5)
    tensors["sam_mask_decoder.pred_obj_score_head.layers.2.bias"].fill_(3.0)
    return tensors


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    path = tmp_path_factory.mktemp("sam") / "sam2.1_hiera_tiny.pt"
    torch.save({"model": published_state()}, path)
    return load_sam2(str(path), TINY).prepare(torch.device("cpu"), torch.float32)


def features(count: int) -> list:
    found = []
    for place, (channels, side) in enumerate(((32, 256), (64, 128), (256, 64))):
        wave = np.sin(np.arange(count * channels * side * side) * 12.9898 + place) * 43758.5453
        noise = (2 * (wave - np.floor(wave)) - 1).astype(np.float32)
        found.append(torch.from_numpy(noise).reshape(count, channels, side, side))
    return found


def test_the_encoder_gives_the_authors_numbers(network):
    image = torch.from_numpy(wavy_images(1, 256, 256)).permute(0, 3, 1, 2).float() / 255
    with torch.inference_mode():
        levels = network.embed((image - 0.45) / 0.225)
    assert [level.shape[1:] for level in levels] == [(32, 64, 64), (64, 32, 32), (256, 16, 16)]
    for level, golden in zip(levels, LEVELS, strict=True):
        np.testing.assert_allclose(fingerprint(level.numpy()), golden, **CLOSE)


def test_prompts_of_several_frames_are_decoded_together_to_the_authors_numbers(network):
    points = torch.tensor(
        [[[300.0, 400.0], [520.0, 610.0], [350.0, 580.0]], [[100.0, 700.0], [350.0, 960.0], [200.0, 800.0]]]
    )
    labels = torch.tensor([[2, 3, 1], [2, 3, 1]])
    with torch.inference_mode():
        logits, scores = network.decode(features(2), points, labels)
    np.testing.assert_allclose(fingerprint(logits[:, None].numpy()), LOGITS, **CLOSE)
    np.testing.assert_allclose(scores.numpy(), SCORES, **CLOSE)


def test_a_mask_is_carried_on_as_the_authors_predictor_does(network):
    mask = torch.zeros(1024, 1024, dtype=torch.bool)
    mask[300:620, 350:800] = True
    with torch.inference_mode():
        logits = network.propagate([level[1:] for level in features(3)], mask, 0)
    assert logits.shape == (2, 256, 256)
    np.testing.assert_allclose(fingerprint(logits[1].numpy()), CARRIED, **CLOSE)
    given = torch.nn.functional.interpolate(mask[None, None].float(), (256, 256), mode="area")[0, 0] > 0.5
    np.testing.assert_array_equal(logits[0].numpy() > 0, given.numpy())


def test_other_files_are_refused(tmp_path):
    torch.save({"model": {"x": torch.zeros(1)}}, tmp_path / "other.pt")
    with pytest.raises(WeightsError, match="does not fit HieraEncoder"):
        load_sam2(str(tmp_path / "other.pt"), TINY)
    torch.save({"weights": {}}, tmp_path / "other.pt")
    with pytest.raises(WeightsError, match="under 'model', not named tensors"):
        load_sam2(str(tmp_path / "other.pt"), TINY)
