"""Resolution of a registry row to verified local files.

Search order: the path or URI of a setting, the package that carries the file, the models folder (`$SPATIALBEAM_MODELS`,
a local folder or any fsspec URI; else `models` in the cache folder), the cache of the Hugging Face Hub. Remote files
are copied once into the cache folder (`$SPATIALBEAM_CACHE`, else `~/.cache/spatialbeam`).
The Hub's cache is read by its documented layout: `huggingface_hub` is not a dependency of the default installation, and
its `try_to_load_from_cache` would replace five lines. pooch knows no fsspec URIs.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import os
import posixpath
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from fsspec.core import url_to_fs

from models.registry.cards import ModelCard, PackageFile, WeightsError, WeightsFile

CACHE_VARIABLE = "SPATIALBEAM_CACHE"
MODELS_VARIABLE = "SPATIALBEAM_MODELS"


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedModel:
    """Model whose files are all present.

    Attributes:
      paths: local path of each of the card's files, by the name at the source.
      digest: SHA-256 of the file, or over the digests of several files.
    """

    paths: dict[str, str]
    digest: str


def resolve_model(card: ModelCard, override_uri: str | None = None) -> ResolvedModel:
    """Local, verified paths of all files of a model.

    Files must have their registered digest. Without one, size (if known) and that it is no web page are checked, and
    the digest is computed for the outputs.

    Args:
      card: the model.
      override_uri: path or fsspec URI of the file or the folder of the files, from the settings.

    Raises:
      WeightsError: if a file is missing, unreadable or not the registered one. Tells how to get it.
    """
    paths = {file.name: _resolve_file(card, file, override_uri) for file in card.files}
    digests = [_digest_of(path) for path in paths.values()]
    digest = digests[0] if len(digests) == 1 else hashlib.sha256("+".join(digests).encode()).hexdigest()
    return ResolvedModel(paths=paths, digest=digest)


def resolve_weights(card: ModelCard, override_uri: str | None = None) -> str:
    """Local, verified path of a model's main weights file. See `resolve_model`."""
    return _resolve_file(card, card.files[0], override_uri)


def locate(card: ModelCard, file: WeightsFile, override_uri: str | None = None) -> str | None:
    """Path or URI at which a file is found, unverified; None if it is nowhere.

    Raises:
      WeightsError: if the user's path or URI cannot be opened or has no such file.
    """
    if override_uri is not None:
        return _in_override(card, file, override_uri)
    if card.packaged is not None:
        return _find_packaged(card, card.packaged)
    return next((uri for uri in _candidates(card, file) if _is_file(uri)), None)


def models_folder() -> str:
    """Path or URI of the models folder."""
    return os.environ.get(MODELS_VARIABLE) or str(cache_folder() / "models")


def cache_folder() -> Path:
    """Local cache folder of this program."""
    root = os.environ.get(CACHE_VARIABLE)
    return Path(root) if root else Path.home() / ".cache" / "spatialbeam"


def check_file(card: ModelCard, file: WeightsFile, path: str, shown: str | None = None) -> None:
    """Verifies a local file by what the registry states of it.

    Raises:
      WeightsError: if it is not the registered one.
    """
    shown = repr(shown or path)
    remedy = f"it is damaged or another version. {card.how_to_get}"
    size_bytes = os.path.getsize(path)
    with open(path, "rb") as opened:
        start = opened.read(256).lstrip().lower()
    if size_bytes == 0 or start.startswith((b"<!doctype html", b"<html")):
        what = "a web page" if size_bytes else "empty"
        raise WeightsError(f"model {card.model_id}: {shown} is {what}, not {file.name}: {remedy}")
    if file.sha256 is not None and (digest := _digest_of(path)) != file.sha256:
        raise WeightsError(
            f"model {card.model_id}: {shown} has SHA-256 {digest[:16]}..., expected {file.sha256[:16]}...: {remedy}"
        )
    if file.size_bytes is not None and size_bytes != file.size_bytes:
        raise WeightsError(
            f"model {card.model_id}: {shown} has {size_bytes} bytes, expected {file.size_bytes}: {remedy}"
        )


def _resolve_file(card: ModelCard, file: WeightsFile, override_uri: str | None) -> str:
    uri = locate(card, file, override_uri)
    if uri is None:
        raise WeightsError(
            f"model {card.model_id}: {file.name} is neither in the models folder {models_folder()!r} "
            f"(as {file.path}) nor in the hub's cache, and {card.setting} is not set. {card.how_to_get}"
        )
    fs, path = _open_uri(card, uri)
    if not _is_local(fs):
        return _copy_to_cache(card, file, uri)
    check_file(card, file, str(path))
    return str(path)


def _candidates(card: ModelCard, file: WeightsFile) -> Iterator[str]:
    yield posixpath.join(models_folder(), file.path)
    if card.hub is None:
        return
    home = os.environ.get("HF_HOME") or str(Path.home() / ".cache" / "huggingface")
    hub = Path(os.environ.get("HF_HUB_CACHE") or Path(home, "hub")) / f"models--{card.hub.repo.replace('/', '--')}"
    revision = card.hub.revision
    reference = hub / "refs" / revision
    yield str(hub / "snapshots" / (reference.read_text().strip() if reference.is_file() else revision) / file.name)


def _is_file(uri: str) -> bool:
    try:
        fs, path = url_to_fs(uri)
        return bool(fs.isfile(path))
    except (ValueError, ImportError, OSError) as error:
        raise WeightsError(
            f"the models folder ({MODELS_VARIABLE}={models_folder()!r}) cannot be read: {error}. "
            "Set it to a folder or an fsspec URI that can."
        ) from error


def _in_override(card: ModelCard, file: WeightsFile, uri: str) -> str:
    fs, path = _open_uri(card, uri)
    missing = f"model {card.model_id}: no file at {card.setting}={uri!r}. {card.how_to_get}"
    if not _is_local(fs):
        return posixpath.join(uri, file.name) if len(card.files) > 1 else uri
    inside = os.path.join(path, file.name)
    if os.path.isfile(inside):
        return inside
    if len(card.files) > 1 or not os.path.isfile(path):
        raise WeightsError(missing)
    return str(path)


def _open_uri(card: ModelCard, uri: str) -> tuple[Any, str]:
    try:
        return url_to_fs(uri)
    except (ValueError, ImportError) as error:
        raise WeightsError(
            f"model {card.model_id}: cannot open {card.setting}={uri!r}: {error}. {card.how_to_get}"
        ) from error


def _is_local(fs: Any) -> bool:
    return "file" in ((fs.protocol,) if isinstance(fs.protocol, str) else fs.protocol)


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


def _copy_to_cache(card: ModelCard, file: WeightsFile, uri: str) -> str:
    fs, path = _open_uri(card, uri)
    folder = cache_folder() / "weights"
    try:
        # Where no digest is registered, the remote file's own identity keeps versions apart.
        identity = file.sha256 or hashlib.sha256(f"{uri} {fs.info(path)}".encode()).hexdigest()
        cached = folder / f"{identity[:16]}-{file.name}"
        if not cached.is_file():
            folder.mkdir(parents=True, exist_ok=True)
            with temporary_file(folder) as temporary:
                fs.get_file(path, temporary)
                check_file(card, file, temporary, shown=uri)
                os.replace(temporary, cached)
    except WeightsError:
        raise
    except Exception as error:
        raise WeightsError(
            f"model {card.model_id}: cannot read {card.setting}={uri!r}: {error}. {card.how_to_get}"
        ) from error
    check_file(card, file, str(cached), shown=uri)
    return str(cached)


@contextmanager
def temporary_file(folder: Path) -> Iterator[str]:
    """Unique temporary file in a folder, removed at the end.

    Concurrent processes must not share one.
    """
    handle, path = tempfile.mkstemp(prefix=".tmp-", dir=folder)
    os.close(handle)
    try:
        yield path
    finally:
        Path(path).unlink(missing_ok=True)


def _digest_of(path: str) -> str:
    status = os.stat(path)
    return _file_sha256(os.path.realpath(path), status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=64)
def _file_sha256(path: str, size_bytes: int, mtime_ns: int) -> str:
    """SHA-256 of a file, cached by size and time."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
