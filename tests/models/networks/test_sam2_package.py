"""SAM 2.1 against its authors' package: features, prompted masks, propagated masks."""

import numpy as np
import pytest

from tests.support.formula_weights import fill_by_formula, wavy_images

pytestmark = pytest.mark.models
torch = pytest.importorskip("torch", reason="needs the models extra")
pytest.importorskip("transformers", reason="needs the models extra")
pytest.importorskip("sam2", reason="needs the package sam2, which has no wheel: pip install --no-build-isolation sam2")

from models.networks.hiera import TINY
from models.networks.sam2 import Sam2, load_sam2

CLOSE = {"rtol": 1e-4, "atol": 1e-4}
SIDE = 1024


@pytest.fixture(scope="module")
def theirs():
    from sam2.build_sam import build_sam2_video_predictor

    model = build_sam2_video_predictor("configs/sam2.1/sam2.1_hiera_t.yaml", device="cpu")
    fill_by_formula(model, 0.5)
    with torch.no_grad():
        # The thing is there in all frames.
        model.sam_mask_decoder.pred_obj_score_head.layers[-1].bias.fill_(3.0)
    return model


@pytest.fixture(scope="module")
def ours(theirs, tmp_path_factory) -> Sam2:
    path = tmp_path_factory.mktemp("sam") / "sam2.1_hiera_tiny.pt"
    torch.save({"model": theirs.state_dict()}, path)
    return load_sam2(str(path), TINY).prepare(torch.device("cpu"), torch.float32)


@pytest.fixture(scope="module")
def features(theirs):
    """The package's features of three frames, at 1/4, 1/8 and 1/16."""
    images = torch.from_numpy(wavy_images(3, SIDE, SIDE)).permute(0, 3, 1, 2).float() / 255
    with torch.inference_mode():
        parts = [theirs.forward_image((image[None] - 0.45) / 0.225)["backbone_fpn"] for image in images]
    return images, [torch.cat(level) for level in zip(*parts, strict=True)]


def test_the_encoder_sees_what_the_packages_does(ours, features):
    images, levels = features
    with torch.inference_mode():
        found = ours.embed((images[:1] - 0.45) / 0.225)
    for level, wanted in zip(found, levels, strict=True):
        np.testing.assert_allclose(level.numpy(), wanted[:1].numpy(), **CLOSE)


def test_prompted_masks_are_the_packages(theirs, ours, features):
    _, levels = features
    points = torch.tensor([[[300.0, 400.0], [520.0, 610.0], [350.0, 580.0]]])
    labels = torch.tensor([[2, 3, 1]])
    with torch.inference_mode():
        logits, scores = ours.decode([level[:1] for level in levels], points, labels)
        sparse, dense = theirs.sam_prompt_encoder(points=(points, labels), boxes=None, masks=None)
        masks, overlap, _, _ = theirs.sam_mask_decoder(
            image_embeddings=levels[2][:1] + theirs.no_mem_embed.view(1, -1, 1, 1),
            image_pe=theirs.sam_prompt_encoder.get_dense_pe(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=False,
            repeat_image=False,
            high_res_features=[level[:1] for level in levels[:2]],
        )
    np.testing.assert_allclose(logits[0].numpy(), masks[0, 0].numpy(), **CLOSE)
    np.testing.assert_allclose(scores.numpy(), overlap[:, 0].numpy(), **CLOSE)


def test_carried_masks_are_the_packages(theirs, ours, features):
    _, levels = features
    mask = torch.zeros(SIDE, SIDE, dtype=torch.bool)
    mask[300:620, 350:800] = True
    places = theirs.image_encoder.neck.position_encoding
    memory: dict = {"cond_frame_outputs": {}, "non_cond_frame_outputs": {}}
    wanted = []
    with torch.inference_mode():
        for frame in range(3):
            maps = [level[frame : frame + 1] for level in levels]
            is_first = frame == 0
            out = theirs.track_step(
                frame_idx=frame,
                is_init_cond_frame=is_first,
                current_vision_feats=[level.flatten(2).permute(2, 0, 1) for level in maps],
                current_vision_pos_embeds=[places(level).flatten(2).permute(2, 0, 1) for level in maps],
                feat_sizes=[tuple(level.shape[2:]) for level in maps],
                point_inputs=None,
                mask_inputs=mask[None, None].float() if is_first else None,
                output_dict=memory,
                num_frames=3,
            )
            memory["cond_frame_outputs" if is_first else "non_cond_frame_outputs"][frame] = out
            wanted.append(out["pred_masks"][0, 0].numpy())
        found = ours.propagate(levels, mask, 0).numpy()
    for frame in (1, 2):
        np.testing.assert_allclose(found[frame], wanted[frame], rtol=1e-3, atol=1e-3)
