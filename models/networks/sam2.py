"""SAM 2.1 (Ravi et al. 2024): own image encoder, decoder and memory of transformers."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from models.networks.hiera import LARGE, HieraEncoder, HieraSize
from models.networks.weights import load_tensors, read_tensors
from models.registry import WeightsError

ENCODER = "image_encoder."


class Sam2(nn.Module):
    """Image encoder and video decoder.

    Attributes:
      encoder: images to features.
      video: transformers' `Sam2VideoModel` without its own encoder.
    """

    def __init__(self, size: HieraSize = LARGE) -> None:
        super().__init__()
        self.encoder = HieraEncoder(size)
        self.video, self._sine = _decoder()

    def prepare(self, device: torch.device, dtype: torch.dtype) -> Sam2:
        """Prepares the loaded network for inference. Point coordinates stay float32: bf16 is pixels off."""
        self.eval().requires_grad_(False).to(device)
        with torch.inference_mode():
            position = self.video.get_image_wide_positional_embeddings().to(dtype)
        self._prompt_parts = (copy.deepcopy(self.video.prompt_encoder).float(), position)
        return self.to(dtype=dtype)

    def embed(self, images: Tensor) -> list[Tensor]:
        """Features of normalized images at strides 4, 8 and 16, for the decoder.

        Images are (n, 3, 1024, 1024).
        """
        fine, middle, coarse = self.encoder(images)
        decoder = self.video.mask_decoder
        return [decoder.conv_s0(fine), decoder.conv_s1(middle), coarse]

    def decode(self, features: list[Tensor], points: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Masks of prompted objects, one image per prompt.

        Args:
          features: of the images of n prompts, from `embed`.
          points: (n, k, 2) float32 x, y in pixels of the 1024 x 1024 image.
          labels: (n, k) int: 1 inside, 0 outside, 2 and 3 corners of a box, -10 none.

        Returns:
          Logits (n, 256, 256) and predicted IoU (n,).
        """
        video = self.video
        encode, position = self._prompt_parts
        sparse, dense = encode(
            input_points=points[:, None], input_labels=labels[:, None], input_boxes=None, input_masks=None
        )
        coarse = features[2] + video.no_memory_embedding.view(1, -1, 1, 1)
        masks, scores, _, _ = video.mask_decoder(
            image_embeddings=coarse,
            image_positional_embeddings=position.expand(len(points), -1, -1, -1),
            sparse_prompt_embeddings=sparse.to(coarse.dtype),
            dense_prompt_embeddings=dense.to(coarse.dtype),
            multimask_output=False,
            high_resolution_features=features[:2],
        )
        return masks[:, 0, 0], scores[:, 0, 0]

    def propagate(self, features: list[Tensor], mask: Tensor, seed: int) -> Tensor:
        """Propagates the mask of an object through a clip, forward and backward from its frame.

        Args:
          features: of the clip's n frames, from `embed`.
          mask: (1024, 1024) bool.
          seed: index of the mask's frame.

        Returns:
          Logits (n, 256, 256).
        """
        from transformers.models.sam2_video.modeling_sam2_video import Sam2VideoInferenceSession

        count, device, dtype = len(features[0]), features[0].device, features[0].dtype
        positions = [_flat(self._sine(level[:1].shape, device, dtype)) for level in features]
        logits = torch.full((count, 256, 256), -torch.inf, device=device)
        for order in (range(seed, count), range(seed, -1, -1)):
            session = Sam2VideoInferenceSession(
                video_height=1024,
                video_width=1024,
                inference_device=device,
                inference_state_device=device,
                dtype=dtype,
            )
            # Features are given, so the session only needs the number of frames.
            session.processed_frames = dict.fromkeys(range(count))
            number = session.obj_id_to_idx(1)
            session.obj_with_new_inputs = [1]
            session.add_mask_inputs(number, seed, mask[None, None].to(dtype))
            for frame in order:
                session.cache.clear_all()
                levels = [_flat(level[frame : frame + 1]) for level in features]
                session.cache.cache_vision_features(frame, {"vision_feats": levels, "vision_pos_embeds": positions})
                output = self.video(session, frame_idx=frame, reverse=order.step < 0)
                logits[frame] = output.pred_masks[0, 0].float()
        return logits


def _flat(maps: Tensor) -> Tensor:
    """(1, c, h, w) to (h w, 1, c)."""
    return maps.flatten(2).permute(2, 0, 1)


def load_sam2(path: str, size: HieraSize = LARGE) -> Sam2:
    """SAM 2.1 from its published checkpoint.

    Raises:
      WeightsError: if transformers is missing, or the weights do not fit.
    """
    network = Sam2(size)
    state = read_tensors(path, group="model")
    encoder = {name[len(ENCODER) :]: value for name, value in state.items() if name.startswith(ENCODER)}
    load_tensors(network.encoder, encoder, path)
    load_tensors(network.video, to_transformers(state, path), path)
    return network


def to_transformers(state: Mapping[str, Tensor], path: str) -> dict[str, Tensor]:
    """Published tensors without the image encoder's, renamed as in transformers."""
    try:
        points = [state[f"sam_prompt_encoder.point_embeddings.{i}.weight"] for i in range(4)]
        gaussian = state["sam_prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"]
    except KeyError as error:
        raise WeightsError(f"{path!r} is not a SAM 2.1 checkpoint: it has no {error}") from error
    renamed = {
        "prompt_encoder.point_embed.weight": torch.cat(points),
        "prompt_encoder.shared_embedding.positional_embedding": gaussian,
        "shared_image_embedding.positional_embedding": gaussian,
    }
    for name, value in state.items():
        if not name.startswith((ENCODER, "sam_prompt_encoder.point_embeddings.", "sam_prompt_encoder.pe_layer.")):
            renamed[_rename(name)] = value
    return renamed


RULES = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"^maskmem_tpos_enc$", "memory_temporal_positional_encoding"),
        (r"^no_mem_embed$", "no_memory_embedding"),
        (r"^no_mem_pos_enc$", "no_memory_positional_encoding"),
        (r"^no_obj_ptr$", "no_object_pointer"),
        (r"^no_obj_embed_spatial$", "occlusion_spatial_embedding_parameter"),
        (r"^obj_ptr_proj\.", "object_pointer_proj."),
        (r"^obj_ptr_tpos_proj\.", "temporal_positional_encoding_projection_layer."),
        (r"^sam_prompt_encoder\.mask_downscaling\.0\.", "prompt_encoder.mask_embed.conv1."),
        (r"^sam_prompt_encoder\.mask_downscaling\.1\.", "prompt_encoder.mask_embed.layer_norm1."),
        (r"^sam_prompt_encoder\.mask_downscaling\.3\.", "prompt_encoder.mask_embed.conv2."),
        (r"^sam_prompt_encoder\.mask_downscaling\.4\.", "prompt_encoder.mask_embed.layer_norm2."),
        (r"^sam_prompt_encoder\.mask_downscaling\.6\.", "prompt_encoder.mask_embed.conv3."),
        (r"^sam_prompt_encoder\.", "prompt_encoder."),
        (r"^sam_mask_decoder\.output_upscaling\.0\.", "mask_decoder.upscale_conv1."),
        (r"^sam_mask_decoder\.output_upscaling\.1\.", "mask_decoder.upscale_layer_norm."),
        (r"^sam_mask_decoder\.output_upscaling\.3\.", "mask_decoder.upscale_conv2."),
        (r"^sam_mask_decoder\.transformer\.norm_final_attn\.", "mask_decoder.transformer.layer_norm_final_attn."),
        (r"^sam_mask_decoder\.", "mask_decoder."),
        (r"^(memory_encoder\.mask_downsampler)\.encoder\.12\.", r"\1.final_conv."),
        (r"^memory_encoder\.pix_feat_proj\.", "memory_encoder.feature_projection."),
        (r"^memory_encoder\.out_proj\.", "memory_encoder.projection."),
        (r"^memory_encoder\.fuser\.", "memory_encoder.memory_fuser."),
        (r"\.gamma$", ".scale"),
        (r"\.dwconv\.", ".depthwise_conv."),
        (r"\.pwconv(\d)\.", r".pointwise_conv\1."),
        (r"\.norm(\d?)\.", r".layer_norm\1."),
        (r"(?<=attn|mage|oken)\.out_proj\.", ".o_proj."),
    )
)
DOWNSAMPLER = re.compile(r"^memory_encoder\.mask_downsampler\.encoder\.(\d+)\.(\w+)$")
PERCEPTRON = re.compile(
    r"^(.*(?:mlp|output_hypernetworks_mlps\.\d|iou_prediction_head|pred_obj_score_head|object_pointer_proj))"
    r"\.layers\.(\d)\.(\w+)$"
)


def _rename(name: str) -> str:
    for pattern, replacement in RULES:
        name = pattern.sub(replacement, name)
    if found := DOWNSAMPLER.match(name):
        layer, part = divmod(int(found[1]), 3)
        return f"memory_encoder.mask_downsampler.layers.{layer}.{('conv', 'layer_norm')[part]}.{found[2]}"
    if found := PERCEPTRON.match(name):
        last = 1 if found[1].endswith(".mlp") else 2
        layer_name = {0: "proj_in", last: "proj_out"}.get(int(found[2]), f"layers.{int(found[2]) - 1}")
        return f"{found[1]}.{layer_name}.{found[3]}"
    return name


def _decoder() -> tuple[Any, Any]:
    try:
        from transformers import Sam2HieraDetConfig, Sam2VideoConfig, Sam2VideoModel, Sam2VisionConfig
    except ImportError as error:
        raise WeightsError(
            f"masks by SAM 2.1 need transformers ({error}): pip install 'spatialbeam[models]'"
        ) from error
    # The smallest encoder that transformers accepts; it is dropped, since `HieraEncoder` takes its place.
    backbone = Sam2HieraDetConfig(
        hidden_size=8,
        blocks_per_stage=[1, 1, 1, 1],
        embed_dim_per_stage=[8, 16, 32, 64],
        num_attention_heads_per_stage=[1, 1, 1, 1],
        global_attention_blocks=[2],
    )
    vision = Sam2VisionConfig(backbone_config=backbone, backbone_channel_list=[64, 32, 16, 8])
    model = Sam2VideoModel(Sam2VideoConfig(vision_config=vision))
    sine = model.vision_encoder.neck.position_encoding
    model.vision_encoder = None
    return model, sine
