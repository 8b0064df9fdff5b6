"""Own depth networks against the public ones, or against golden numbers.

The golden numbers came from the authors' code (Depth-Anything-V2 a561b84, MoGe 0744441) with the same weights.
"""

import json
import re

import numpy as np
import pytest

from tests.support.formula_weights import fill_by_formula, fingerprint, wavy_images

pytestmark = pytest.mark.models
torch = pytest.importorskip("torch", reason="needs the models extra")

from models.networks.depth_anything import DepthAnythingV2
from models.networks.dinov2 import MEAN_RGB, STD_RGB
from models.networks.moge import MoGe2
from models.networks.pixels import normalize, to_unit

CLOSE = {"rtol": 2e-4, "atol": 2e-4}


def small_moge_config() -> dict:
    """The published layout of MoGe-2 on the smallest encoder, with few channels."""
    widths = [64, 48, 32, 24, 16]
    stack = {
        "dim_res_blocks": widths,
        "res_block_in_norm": "none",
        "res_block_hidden_norm": "none",
        "resamplers": ["conv_transpose", "conv_transpose", "conv_transpose", "bilinear"],
    }
    head = stack | {"dim_in": widths, "num_res_blocks": [0, 1, 1, 1, 0]}
    return {
        "encoder": {"backbone": "dinov2_vits14", "intermediate_layers": [2, 5, 8, 11], "dim_out": 64},
        "neck": stack | {"dim_in": [66, 2, 2, 2, 2], "dim_out": None, "num_res_blocks": [0, 2, 2, 2, 0]},
        "points_head": head | {"dim_out": [None, None, None, None, 3]},
        "mask_head": head | {"dim_out": [None, None, None, None, 1]},
        "scale_head": {"dims": [384, 32, 32, 1]},
        "remap_output": "exp",
        "num_tokens_range": [100, 3600],
    }


@pytest.fixture(scope="module")
def depth_anything():
    network = DepthAnythingV2("vits")
    fill_by_formula(network)
    network.depth_head.scratch.output_conv2[2].bias.data.fill_(2.0)
    return network.eval()


def test_depth_anything_gives_the_authors_numbers(depth_anything):
    images = normalize(to_unit(torch.from_numpy(wavy_images(2, 70, 98))), MEAN_RGB, STD_RGB)
    with torch.inference_mode():
        plain = depth_anything(images)
    assert plain.shape == (2, 70, 98)
    golden = [102.954517, 37.928283, 32.435104, 51.201088, 57.684879, 51.749424, 20.278852, 81.740082, 95.852112]
    np.testing.assert_allclose(fingerprint(plain.numpy())[:9], golden, **CLOSE)
    prepared = DepthAnythingV2("vits")
    prepared.load_state_dict(depth_anything.state_dict())
    with torch.inference_mode():
        folded = prepared.prepare(torch.float32)(images)
    np.testing.assert_allclose(folded.numpy(), plain.numpy(), rtol=1e-4, atol=1e-3)


def test_depth_anything_equals_the_one_in_transformers(depth_anything):
    transformers = pytest.importorskip("transformers", reason="needs transformers")
    config = transformers.DepthAnythingConfig(
        backbone_config=transformers.Dinov2Config(
            hidden_size=384,
            num_attention_heads=6,
            num_hidden_layers=12,
            image_size=518,
            patch_size=14,
            out_indices=[3, 6, 9, 12],
            reshape_hidden_states=False,
            apply_layernorm=True,
        ),
        reassemble_hidden_size=384,
        neck_hidden_sizes=[48, 96, 192, 384],
        fusion_hidden_size=64,
        patch_size=14,
    )
    public = transformers.DepthAnythingForDepthEstimation(config).eval()
    public.load_state_dict(to_transformers(depth_anything.state_dict(), public.state_dict()), strict=True)
    # Its position embedding is resampled in another way: the size at which nothing is resampled.
    images = normalize(to_unit(torch.from_numpy(wavy_images(1, 518, 518))), MEAN_RGB, STD_RGB)
    with torch.inference_mode():
        np.testing.assert_allclose(
            depth_anything(images).numpy(), public(images).predicted_depth.numpy(), rtol=1e-4, atol=1e-3
        )


def to_transformers(state: dict, wanted: dict) -> dict:
    """The authors' names as transformers has them (two generations of its attention)."""
    split = any(".q_proj." in name for name in wanted)
    parts = ("attention.q_proj", "attention.k_proj", "attention.v_proj")
    old_parts = ("attention.attention.query", "attention.attention.key", "attention.attention.value")
    rules = [
        (r"^pretrained\.(cls_token|mask_token)$", r"backbone.embeddings.\1"),
        (r"^pretrained\.pos_embed$", "backbone.embeddings.position_embeddings"),
        (r"^pretrained\.patch_embed\.proj", "backbone.embeddings.patch_embeddings.projection"),
        (r"^pretrained\.norm", "backbone.layernorm"),
        (r"^pretrained\.blocks", "backbone.encoder.layer"),
        (r"\.attn\.proj\.", ".attention.o_proj." if split else ".attention.output.dense."),
        (r"\.ls(\d)\.gamma$", r".layer_scale\1.lambda1"),
        (r"^depth_head\.projects\.(\d)", r"neck.reassemble_stage.layers.\1.projection"),
        (r"^depth_head\.resize_layers\.(\d)", r"neck.reassemble_stage.layers.\1.resize"),
        (r"^depth_head\.scratch\.layer(\d)_rn", lambda m: f"neck.convs.{int(m[1]) - 1}"),
        (r"^depth_head\.scratch\.refinenet(\d)", lambda m: f"neck.fusion_stage.layers.{4 - int(m[1])}"),
        (r"\.out_conv\.", ".projection."),
        (r"\.resConfUnit(\d)\.conv(\d)", r".residual_layer\1.convolution\2"),
        (r"^depth_head\.scratch\.output_conv1", "head.conv1"),
        (r"^depth_head\.scratch\.output_conv2\.(\d)", lambda m: f"head.conv{2 + int(m[1]) // 2}"),
    ]
    renamed = {}
    for name, tensor in state.items():
        for pattern, replacement in rules:
            name = re.sub(pattern, replacement, name)
        if ".attn.qkv." in name:
            for part, third in zip(parts if split else old_parts, tensor.chunk(3), strict=True):
                renamed[name.replace("attn.qkv", part)] = third
        else:
            renamed[name] = tensor
    return renamed


def test_moge_gives_the_authors_numbers():
    network = MoGe2(small_moge_config())
    fill_by_formula(network, 0.6)
    network.encoder.image_mean.copy_(torch.tensor(MEAN_RGB).view(1, 3, 1, 1))
    network.encoder.image_std.copy_(torch.tensor(STD_RGB).view(1, 3, 1, 1))
    images = to_unit(torch.from_numpy(wavy_images(2, 72, 128)))
    with torch.inference_mode():
        points, mask, scale = network.eval()(images, 150)
        folded = network.prepare(torch.float32)(images, 150)
    golden = [0.026693, 1.30564, -0.199504, -0.235729, -0.453573, -0.577129, 0.167003, -2.821211, 0.560717, 2.34254]
    np.testing.assert_allclose(fingerprint(points.numpy()), golden, **CLOSE)
    golden = [0.466042, 0.04344, 0.427103, 0.447463, 0.449865, 0.564475, 0.438728, 0.46555, 0.492761, 0.476948]
    np.testing.assert_allclose(fingerprint(mask.numpy()), golden, **CLOSE)
    np.testing.assert_allclose(scale.numpy(), [1.001556, 0.99283], **CLOSE)
    for ours, plain in zip(folded, (points, mask, scale), strict=True):
        np.testing.assert_allclose(ours.numpy(), plain.numpy(), rtol=1e-3, atol=1e-4)


def test_other_kinds_of_moge_are_refused():
    for change in ({"remap_output": "linear"}, {"neck": small_moge_config()["neck"] | {"res_block_in_norm": "x"}}):
        with pytest.raises(ValueError, match=r"MoGe-2"):
            MoGe2(json.loads(json.dumps(small_moge_config() | change)))
