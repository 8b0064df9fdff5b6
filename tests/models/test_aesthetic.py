"""The aesthetic model: the folded head, CLIP's preprocessing, grouping of images, loading of weights."""

import json
import weakref

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from models.aesthetic import (
    HEAD_LAYERS,
    MEAN_RGB,
    NO_MODEL_REASON,
    STD_RGB,
    AestheticModel,
    AestheticSettings,
    AffineHead,
    ClipEncoder,
    fold_head,
    load_head,
    load_model,
    preprocess_image,
)
from models.registry import WeightsError


def random_head(seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    state = {}
    for i, (outputs, inputs) in HEAD_LAYERS.items():
        state[f"layers.{i}.weight"] = (rng.standard_normal((outputs, inputs)) / inputs**0.5).astype(np.float32)
        state[f"layers.{i}.bias"] = rng.standard_normal(outputs).astype(np.float32)
    return state


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**32 - 1))
@pytest.mark.slow
def test_the_folded_head_equals_its_layers_one_by_one(seed):
    state = random_head(seed)
    embeddings = np.random.default_rng(seed + 1).standard_normal((5, 768)).astype(np.float32)
    values = embeddings.astype(np.float64)
    values /= np.linalg.norm(values, axis=1, keepdims=True)
    for i in HEAD_LAYERS:
        values = values @ state[f"layers.{i}.weight"].T.astype(np.float64) + state[f"layers.{i}.bias"]
    np.testing.assert_allclose(fold_head(state).score(embeddings), values[:, 0], rtol=1e-10, atol=1e-10)


def test_the_length_of_an_embedding_does_not_matter():
    head = fold_head(random_head(0))
    embedding = np.random.default_rng(1).standard_normal((1, 768))
    np.testing.assert_allclose(head.score(embedding), head.score(embedding * 17.0))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"layers.7.bias": None}, r"layers\.7\.bias is None, expected \(1,\)"),
        ({"layers.1.weight": np.zeros((2, 2))}, r"layers\.1\.weight is \(2, 2\), expected None"),
        ({"layers.0.weight": np.zeros((1024, 512))}, r"layers\.0\.weight is \(1024, 512\)"),
    ],
)
def test_other_checkpoints_are_refused(change, message):
    state = {k: v for k, v in (random_head(0) | change).items() if v is not None}
    with pytest.raises(WeightsError, match=message):
        fold_head(state)


def test_a_landscape_image_is_squeezed_to_398_columns_and_cropped_at_87():
    image = np.random.default_rng(0).integers(0, 256, (360, 640, 3), dtype=np.uint8)
    resized = Image.fromarray(image).resize((398, 224), Image.Resampling.BICUBIC)
    crop = np.asarray(resized)[:, 87 : 87 + 224].astype(np.float64) / 255
    expected = ((crop - MEAN_RGB) / STD_RGB).transpose(2, 0, 1)
    prepared = preprocess_image(image)
    assert prepared.dtype == np.float32
    np.testing.assert_allclose(prepared, expected, atol=1e-5)


@pytest.mark.parametrize("size", [(224, 224), (10, 10), (300, 999), (999, 300), (225, 224)])
def test_a_flat_image_stays_flat_at_any_size(size):
    image = np.full((size[1], size[0], 3), (255, 128, 0), np.uint8)
    prepared = preprocess_image(image)
    assert prepared.shape == (3, 224, 224)
    expected = (np.array([1.0, 128 / 255, 0.0]) - MEAN_RGB) / STD_RGB
    np.testing.assert_allclose(prepared, np.broadcast_to(expected[:, None, None], (3, 224, 224)), atol=1e-5)


def test_an_image_of_the_right_size_is_not_resampled():
    image = np.random.default_rng(0).integers(0, 256, (224, 224, 3), dtype=np.uint8)
    restored = preprocess_image(image).transpose(1, 2, 0) * STD_RGB + MEAN_RGB
    np.testing.assert_array_equal(np.round(restored * 255).astype(np.uint8), image)


def test_wrong_arrays_are_refused():
    for image in (
        np.zeros((9, 9), np.uint8),
        np.zeros((9, 9, 3), np.float32),
        np.zeros((0, 9, 3), np.uint8),
    ):
        with pytest.raises(ValueError, match="RGB image"):
            preprocess_image(image)


class BrightnessEncoder:
    """Embeddings along the first axis for white images, the second for black ones."""

    def __init__(self) -> None:
        self.batches: list[int] = []

    def encode(self, pixels):
        self.batches.append(len(pixels))
        is_white = pixels.mean(axis=(1, 2, 3)) > 0
        return np.stack([is_white, ~is_white], axis=1) @ np.eye(2, 768, dtype=np.float32)


def flat(value: int) -> np.ndarray:
    return np.full((32, 48, 3), value, np.uint8)


def test_images_of_many_clips_share_a_batch_and_come_back_to_their_clips():
    weight = np.zeros(768)
    weight[:2] = 4, 1
    encoder = BrightnessEncoder()
    model = AestheticModel(encoder, AffineHead(weight=weight, bias=2.0))
    assert model.score_clips([[flat(255), flat(0), flat(0)], [flat(255)]]) == [4.0, 6.0]
    assert encoder.batches == [4]
    assert weakref.ref(model)() is model


def test_nothing_to_score():
    model = AestheticModel(BrightnessEncoder(), fold_head(random_head(0)))
    assert model.score_clips([]) == []


def test_the_default_profile_has_no_model_and_says_how_to_get_one():
    default = AestheticSettings()
    assert default.model == "none"
    assert "aesthetic.model=clip-l14-laion" in NO_MODEL_REASON
    with pytest.raises(ValueError, match="no aesthetic model"):
        load_model(default)


@pytest.mark.parametrize("given_uris", [{}, {"head_uri": "/nowhere/head.pth"}])
def test_missing_weights_are_an_error_that_says_how_to_get_them(given_uris):
    with pytest.raises(WeightsError, match=r"aesthetic\.head_uri|torch"):
        load_model(AestheticSettings(model="clip-l14-laion", **given_uris))


@pytest.mark.models
def test_a_checkpoint_is_read_without_running_it(tmp_path):
    torch = pytest.importorskip("torch", reason="needs the models extra")
    state = random_head(3)
    path = tmp_path / "head.pth"
    torch.save({k: torch.from_numpy(v) for k, v in state.items()}, path)
    head, expected = load_head(str(path)), fold_head(state)
    np.testing.assert_array_equal(head.weight, expected.weight)
    assert head.bias == expected.bias


@pytest.mark.models
def test_a_checkpoint_with_code_is_refused(tmp_path):
    torch = pytest.importorskip("torch", reason="needs the models extra")

    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / "sprung"), "w"))

    torch.save(Trap(), tmp_path / "trap.pth")
    with pytest.raises(WeightsError, match="not a plain state dict"):
        load_head(str(tmp_path / "trap.pth"))
    assert not (tmp_path / "sprung").exists()
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(WeightsError, match="holds a list"):
        load_head(str(tmp_path / "list.pth"))


@pytest.fixture
def tiny_clip(tmp_path):
    """A small CLIP with random weights in OpenAI's format, and its image tower."""
    torch = pytest.importorskip("torch", reason="needs the models extra")
    open_clip = pytest.importorskip("open_clip", reason="needs open_clip_torch")
    config = {
        "embed_dim": 768,
        "quick_gelu": True,
        "vision_cfg": {"image_size": 224, "layers": 1, "width": 64, "head_width": 32, "patch_size": 56},
        "text_cfg": {"context_length": 8, "vocab_size": 16, "width": 32, "heads": 1, "layers": 1},
    }
    (tmp_path / "tiny-vit.json").write_text(json.dumps(config))
    open_clip.add_model_config(tmp_path / "tiny-vit.json")
    torch.manual_seed(0)
    model = open_clip.create_model("tiny-vit").eval()

    class Holder(torch.nn.Module):
        """Only holds parameters, so that it can be scripted whatever the model does."""

        def forward(self, x: int) -> int:
            return x

    root = Holder()
    for name, values in model.state_dict().items():
        *path, last = name.split(".")
        node = root
        for part in path:
            if not hasattr(node, part):
                node.add_module(part, Holder())
            node = getattr(node, part)
        node.register_parameter(last, torch.nn.Parameter(values.clone(), requires_grad=False))
    archive = tmp_path / "tiny.pt"
    torch.jit.script(root).save(str(archive))
    return archive, model


@pytest.mark.models
def test_the_image_tower_of_an_archive_gives_the_models_own_embeddings(tiny_clip):
    torch = pytest.importorskip("torch")
    archive, model = tiny_clip
    pixels = np.random.default_rng(0).standard_normal((5, 3, 224, 224)).astype(np.float32)
    with torch.inference_mode():
        expected = model.encode_image(torch.from_numpy(pixels)).numpy()
    embeddings = ClipEncoder(str(archive), architecture="tiny-vit", batch_images=2).encode(pixels)
    assert embeddings.shape == (5, 768)
    np.testing.assert_allclose(embeddings, expected, atol=1e-5)


@pytest.mark.models
def test_an_embedding_does_not_depend_on_its_batch(tiny_clip):
    encoder = ClipEncoder(str(tiny_clip[0]), architecture="tiny-vit", batch_images=4)
    pixels = np.random.default_rng(0).standard_normal((6, 3, 224, 224)).astype(np.float32)
    together = encoder.encode(pixels)
    alone = np.concatenate([encoder.encode(pixels[i : i + 1]) for i in range(6)])
    np.testing.assert_array_equal(together, alone)
    assert encoder.encode(pixels[:0]).shape == (0, 768)


@pytest.mark.models
def test_passes_are_halved_where_memory_runs_out(tiny_clip, monkeypatch):
    torch = pytest.importorskip("torch")
    encoder = ClipEncoder(str(tiny_clip[0]), architecture="tiny-vit", batch_images=8)
    pixels = np.random.default_rng(0).standard_normal((5, 3, 224, 224)).astype(np.float32)
    expected = encoder.encode(pixels)
    network, most = encoder._visual, [3]

    def limited(batch):
        if len(batch) > most[0]:
            raise torch.OutOfMemoryError("no memory left")
        return network(batch)

    monkeypatch.setattr(encoder, "_visual", limited)
    np.testing.assert_allclose(encoder.encode(pixels), expected, atol=1e-5)
    assert encoder.halvings == 2
    most[0] = 0
    with pytest.raises(torch.OutOfMemoryError):
        encoder.encode(pixels)


@pytest.mark.models
def test_an_archive_of_another_architecture_is_refused(tiny_clip):
    with pytest.raises(WeightsError, match="does not fit ViT-B-32"):
        ClipEncoder(str(tiny_clip[0]), architecture="ViT-B-32-quickgelu")
