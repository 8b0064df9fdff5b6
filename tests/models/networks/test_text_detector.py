"""PP-OCRv5's detector: its files, and the same map as transformers gives."""

import json

import numpy as np
import pytest

from models.text.scorer import TextModel, TextSettings, _to_input
from tests.support.formula_weights import wavy_images

pytestmark = pytest.mark.models
torch = pytest.importorskip("torch", reason="needs the models extra")
transformers = pytest.importorskip("transformers", reason="needs the models extra")


def line(length: int, axis: int) -> list:
    """Kernel, stride and padding of a convolution along one axis, or both."""
    kernel = [length, length] if axis == 2 else [length, 1] if axis == 0 else [1, length]
    return [kernel, [1, 1], [side // 2 for side in kernel]]


def blocks() -> dict:
    config = {"reduce_channel": [1, 1, 0], "return_channel": [1, 1, 0]}
    for name, axis in (
        ("vertical_long_to_small_conv", 0),
        ("horizontal_small_to_long_conv", 1),
        ("symmetric_conv_long", 2),
    ):
        for ratio, length in (("longratio", 7), ("midratio", 5), ("shortratio", 3)):
            config[f"{name}_{ratio}"] = line(length, axis)
    return config


def test_the_published_files_are_read_and_give_transformers_numbers(tmp_path):
    from safetensors.torch import save_file

    config = transformers.PPOCRV5ServerDetConfig(
        intraclass_block_config=blocks(), scale_factor_list=[1, 2, 4, 8], kernel_list=[3, 2, 2]
    )
    torch.manual_seed(0)
    public = transformers.PPOCRV5ServerDetForObjectDetection(config).eval()
    save_file(
        {name: tensor.contiguous() for name, tensor in public.state_dict().items()}, tmp_path / "model.safetensors"
    )
    (tmp_path / "config.json").write_text(json.dumps(config.to_dict()))
    settings = TextSettings(
        model="ppocrv5-server", detector_uri=str(tmp_path), confirm_side_share=None, limit_side_len_px=96
    )
    model = TextModel(settings)
    image = wavy_images(1, 64, 96)[0]
    pixels = _to_input(image, (96, 64))
    with torch.inference_mode():
        wanted = public(torch.from_numpy(pixels)).last_hidden_state[0, 0].numpy()
    np.testing.assert_array_equal(model._detector.probability(pixels), wanted)
    assert wanted.shape == (64, 96) and 0 <= model.text_share(image) <= 1
