"""Public test assets of the corpus: a list of repository, commit and path; the files themselves are never kept here."""

from __future__ import annotations

import csv
import hashlib
import subprocess
from dataclasses import dataclass
from pathlib import Path

import requests

LIST = Path(__file__).with_name("files.csv")
HOST = "https://raw.githubusercontent.com"
TIMEOUT_S = 60


@dataclass(frozen=True, slots=True)
class Asset:
    """One file of a public repository.

    Attributes:
      repository: owner/name on GitHub.
      commit, path: where the file is.
      blob: Git's SHA-1 of its bytes.
      license: of the repository, as it states it.
    """

    repository: str
    commit: str
    path: str
    blob: str
    license: str

    @property
    def file_name(self) -> str:
        """Name in the corpus folder, unique by the blob."""
        return f"{self.repository.split('/')[1]}-{self.blob[:6]}-{Path(self.path).name.replace(' ', '_')}"


def load_assets() -> list[Asset]:
    """All files of the list."""
    with LIST.open(newline="") as file:
        return [Asset(**row) for row in csv.DictReader(file)]


def fetch_asset(asset: Asset, folder: Path, clones: Path | None) -> Path:
    """Writes a file of the corpus into a folder, unless it is there; returns its path.

    Args:
      asset: what to get.
      folder: where it is written.
      clones: folder of Git clones named `owner+name` (or `owner+name/repo`); None downloads from GitHub.

    Raises:
      ValueError: if the bytes are not those of the list.
    """
    path = folder / asset.file_name
    if path.exists():
        return path
    data = _download(asset) if clones is None else _read_clone(asset, clones / asset.repository.replace("/", "+"))
    blob = hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()
    if blob != asset.blob:
        raise ValueError(f"{asset.repository}/{asset.path} has blob {blob}, expected {asset.blob}")
    path.write_bytes(data)
    return path


def _download(asset: Asset) -> bytes:
    response = requests.get(f"{HOST}/{asset.repository}/{asset.commit}/{asset.path}", timeout=TIMEOUT_S)
    response.raise_for_status()
    return response.content


def _read_clone(asset: Asset, clone: Path) -> bytes:
    clone = clone / "repo" if (clone / "repo").is_dir() else clone
    return subprocess.run(
        ["git", "-C", str(clone), "cat-file", "blob", asset.blob], capture_output=True, check=True
    ).stdout
