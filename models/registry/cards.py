"""Rows of the model registry: files, source and license of a model."""

from __future__ import annotations

import posixpath
from dataclasses import dataclass


class WeightsError(ValueError):
    """Weights of a model are missing, unreadable or not the registered ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PackageFile:
    """Weights file inside an installed Python package.

    Attributes:
      distribution: name and version to install, as pip takes it ("rapidocr==3.10.0").
      package: the import name; the package is looked up but never imported.
      path: POSIX path below the package's folder.
    """

    distribution: str
    package: str
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HubRepo:
    """Repository of the Hugging Face Hub at a revision.

    A commit, or a branch if none is known.
    """

    repo: str
    revision: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightsFile:
    """One file of a model.

    Attributes:
      path: POSIX path below the models folder; its last part is the name that the file has at its source.
      sha256: SHA-256, 64 hexadecimal digits; None if unknown.
      size_bytes: size; None if unknown.
      url: where it is published, if not in the card's hub repository.
    """

    path: str
    sha256: str | None = None
    size_bytes: int | None = None
    url: str | None = None

    @property
    def name(self) -> str:
        """File name at the source."""
        return posixpath.basename(self.path)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCard:
    """One row of the registry.

    Attributes:
      model_id: stable name that outputs and settings use.
      task: what it is for: text, aesthetic, relative depth, metric depth, masks, tracking, flow, shots.
      computes: what the model computes, in a few words.
      source: package with version, or the project's URL.
      revision: version, commit or publication that fixes the weights.
      files: its weights files, the main one first.
      license: SPDX identifier of the license that the weights are published under.
      commercial_use: whether that license allows commercial use.
      setting: the configuration key that takes a path or URI of the file (of the folder, if there are several).
      hub: the hub repository that holds the files.
      packaged: where an installed package carries the file; None if the user must provide it.
      loader: `module:function` that loads the network, where several networks share an interface.
      packages: packages that it needs besides torch.
      notes: what a user should know besides the license's text; may be empty.
    """

    model_id: str
    task: str
    computes: str
    source: str
    revision: str
    files: tuple[WeightsFile, ...]
    license: str
    commercial_use: bool
    setting: str
    hub: HubRepo | None = None
    packaged: PackageFile | None = None
    loader: str = ""
    packages: tuple[str, ...] = ()
    notes: str = ""

    @property
    def file_name(self) -> str:
        """Name of the main file at its source."""
        return self.files[0].name

    @property
    def is_fetchable(self) -> bool:
        """Whether every file has a URL for `launcher.py models fetch`."""
        return all(self.url_of(file) is not None for file in self.files)

    @property
    def how_to_get(self) -> str:
        """Sentence that tells a user how to get the weights."""
        if self.packaged is not None:
            copy = f", or set {self.setting} to a copy of the file" if self.setting.endswith("_uri") else ""
            return f"Install {self.packaged.distribution}{copy}."
        names = " and ".join(file.name for file in self.files)
        what = "the folder of the files" if len(self.files) > 1 else "the file"
        fetch = f"Run `python launcher.py models fetch {self.model_id}`, or get" if self.is_fetchable else "Get"
        return f"{fetch} {names} from {self.source} and set {self.setting} to the path or URI of {what}."

    def url_of(self, file: WeightsFile) -> str | None:
        """URL of one of the card's files; None if it is not published by URL."""
        if file.url is not None or self.hub is None:
            return file.url
        return f"https://huggingface.co/{self.hub.repo}/resolve/{self.hub.revision}/{file.name}"
