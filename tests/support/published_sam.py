"""What a published file of SAM 2.1 holds, by name and shape."""

from __future__ import annotations

import torch

from models.networks.hiera import HieraSize
from models.networks.sam2 import ENCODER, Sam2, to_transformers

GAUSSIAN = "sam_prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"
POINTS = {f"sam_prompt_encoder.point_embeddings.{i}.weight": torch.zeros(1, 256) for i in range(4)} | {
    GAUSSIAN: torch.zeros(2, 128)
}


def published_tensors(size: HieraSize) -> dict[str, torch.Tensor]:
    """Zeros by the names and shapes of what the file holds under `model`."""
    network = Sam2(size)
    shapes = {name: tensor.shape for name, tensor in network.video.state_dict().items()}
    state = {f"{ENCODER}{name}": tensor.shape for name, tensor in network.encoder.state_dict().items()}
    for name in published_names():
        (ours,) = to_transformers({**POINTS, name: torch.zeros(1)}, "").keys() - to_transformers(POINTS, "").keys()
        state[name] = shapes[ours]
    state |= {name: (1, 256) for name in POINTS if "point_embeddings" in name}
    state[GAUSSIAN] = (2, 128)
    return {name: torch.zeros(shape) for name, shape in state.items()}


def parts(prefix: str, *names: str) -> list[str]:
    return [f"{prefix}.{name}.{kind}" for name in names for kind in ("weight", "bias")]


def attention(prefix: str) -> list[str]:
    return parts(prefix, "q_proj", "k_proj", "v_proj", "out_proj")


def published_names() -> list[str]:
    """Names of the published file but for the image encoder's and the points'."""
    names = ["maskmem_tpos_enc", "no_mem_embed", "no_mem_pos_enc", "no_obj_ptr", "no_obj_embed_spatial"]
    names += ["mask_downsample.weight", "mask_downsample.bias"]
    for i in range(4):
        layer = f"memory_attention.layers.{i}"
        names += attention(f"{layer}.self_attn") + attention(f"{layer}.cross_attn_image")
        names += parts(layer, "linear1", "linear2", "norm1", "norm2", "norm3")
    names += parts("memory_attention", "norm")
    names += parts("memory_encoder.mask_downsampler.encoder", *map(str, (0, 1, 3, 4, 6, 7, 9, 10, 12)))
    names += parts("memory_encoder", "pix_feat_proj", "out_proj")
    for i in range(2):
        layer = f"memory_encoder.fuser.layers.{i}"
        names += [f"{layer}.gamma", *parts(layer, "dwconv", "norm", "pwconv1", "pwconv2")]
    names += parts("sam_prompt_encoder.mask_downscaling", *map(str, (0, 1, 3, 4, 6)))
    names += ["sam_prompt_encoder.not_a_point_embed.weight", "sam_prompt_encoder.no_mask_embed.weight"]
    decoder = "sam_mask_decoder"
    for i in range(2):
        layer = f"{decoder}.transformer.layers.{i}"
        for kind in ("self_attn", "cross_attn_token_to_image", "cross_attn_image_to_token"):
            names += attention(f"{layer}.{kind}")
        names += parts(layer, "norm1", "norm2", "norm3", "norm4", "mlp.layers.0", "mlp.layers.1")
    names += attention(f"{decoder}.transformer.final_attn_token_to_image")
    names += parts(decoder, "transformer.norm_final_attn", "conv_s0", "conv_s1")
    names += [f"{decoder}.{token}.weight" for token in ("iou_token", "mask_tokens", "obj_score_token")]
    names += parts(f"{decoder}.output_upscaling", "0", "1", "3")
    heads = [f"output_hypernetworks_mlps.{i}" for i in range(4)] + ["iou_prediction_head", "pred_obj_score_head"]
    for head in [*(f"{decoder}.{name}" for name in heads), "obj_ptr_proj"]:
        names += parts(f"{head}.layers", "0", "1", "2")
    return [*names, "obj_ptr_tpos_proj.weight", "obj_ptr_tpos_proj.bias"]
