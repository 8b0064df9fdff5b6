"""Download of published weights into the models folder.

pooch and huggingface_hub write to local caches only: the models folder can be any fsspec URI, so files are copied here.
"""

from __future__ import annotations

import os
import posixpath
import shutil
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from fsspec.core import url_to_fs

from models.registry.cards import ModelCard, WeightsError, WeightsFile
from models.registry.resolve import cache_folder, check_file, models_folder, temporary_file

TIMEOUT_S = 60.0
CHUNK_BYTES = 1 << 20


def fetch_model(card: ModelCard, from_uri: str | None = None) -> Iterator[str]:
    """Fetches a model's missing files into the models folder; yields the URI of each file.

    A file is verified, then appears atomically.

    Args:
      card: the model.
      from_uri: folder or fsspec URI of a mirror with files of these names; by default the registered URLs.

    Raises:
      WeightsError: if a file has no URL, cannot be read, or is not the registered one.
    """
    if card.packaged is not None:
        raise WeightsError(f"model {card.model_id} is carried by a package. {card.how_to_get}")
    for file in card.files:
        target = posixpath.join(models_folder(), file.path)
        fs, path = url_to_fs(target)
        if not fs.isfile(path):
            scratch = cache_folder() / "weights"
            scratch.mkdir(parents=True, exist_ok=True)
            with temporary_file(scratch) as temporary:
                _read(card, file, from_uri, temporary)
                check_file(card, file, temporary, shown=_source_of(card, file, from_uri))
                fs.makedirs(posixpath.dirname(path), exist_ok=True)
                if "file" in ((fs.protocol,) if isinstance(fs.protocol, str) else fs.protocol):
                    with temporary_file(Path(path).parent) as beside:
                        shutil.copyfile(temporary, beside)
                        os.replace(beside, path)
                else:
                    fs.put_file(temporary, path)
        yield target


def _source_of(card: ModelCard, file: WeightsFile, from_uri: str | None) -> str:
    source = card.url_of(file) if from_uri is None else posixpath.join(from_uri, file.name)
    if source is None:
        raise WeightsError(f"model {card.model_id}: no URL of {file.name} is known. {card.how_to_get}")
    return source


def _read(card: ModelCard, file: WeightsFile, from_uri: str | None, target: str) -> None:
    source = _source_of(card, file, from_uri)
    try:
        if source.startswith(("https://", "http://")):
            with urllib.request.urlopen(source, timeout=TIMEOUT_S) as response, open(target, "wb") as out:
                shutil.copyfileobj(response, out, CHUNK_BYTES)
        else:
            fs, path = url_to_fs(source)
            fs.get_file(path, target)
    except (OSError, ValueError, ImportError, urllib.error.URLError) as error:
        raise WeightsError(
            f"model {card.model_id}: cannot read {source!r}: {error}. Get {file.name} from {card.source} by another "
            f"way and put it at {posixpath.join(models_folder(), file.path)!r}."
        ) from error
