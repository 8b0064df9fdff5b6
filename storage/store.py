"""The store of a run: immutable objects in an fsspec folder, referenced by `Ref`."""

from __future__ import annotations

import os
import posixpath
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import fsspec

from core.digest import digest_bytes
from core.references import Ref
from storage.uris import UriError, is_local, normalize_uri, open_uri


class Store:
    """Reads and writes objects below `root_uri` (a local folder or any fsspec URI).

    Writes are atomic: a temporary file and a rename locally, a single put on object stores. They are idempotent too:
    the path contains the digest of everything that the bytes depend on.
    """

    def __init__(self, root_uri: str) -> None:
        self.root_uri = root_uri
        self._fs: Any = None
        self._root = ""

    def __getstate__(self) -> dict[str, str]:
        return {"root_uri": self.root_uri}

    def __setstate__(self, state: dict[str, str]) -> None:
        self.__init__(state["root_uri"])  # type: ignore[misc]

    @property
    def fs(self) -> fsspec.AbstractFileSystem:
        """The file system of the store, opened on first use in each process."""
        if self._fs is None:
            self._fs, self._root = open_uri(normalize_uri(self.root_uri))
        return self._fs

    @property
    def is_local(self) -> bool:
        return is_local(self.fs)

    def full_path(self, path: str) -> str:
        """The path on `fs` of a store path.

        Raises:
          ValueError: if `path` points outside the store.
        """
        fs_root = (self.fs, self._root)[1]
        clean = posixpath.normpath(path)
        if clean.startswith(("/", "..")):
            raise ValueError(f"store path {path!r} points outside the store {self.root_uri!r}")
        return posixpath.join(fs_root, clean)

    def check_writable(self) -> None:
        """Checks that the store is writable, by writing and removing an empty object.

        Raises:
          UriError: if that fails, or no installed package supports the protocol.
        """
        name = f".write-check-{uuid.uuid4().hex[:12]}"
        try:
            self.write_bytes(name, b"", "text/plain")
            self.fs.rm_file(self.full_path(name))
        except UriError:
            raise
        except Exception as error:  # each remote file system has its own exceptions
            raise UriError(
                f"{self.root_uri!r} cannot be written ({type(error).__name__}: {error}). "
                "Remedy: check that the folder or bucket exists, and your permissions or credentials."
            ) from error

    def exists(self, path: str) -> bool:
        return bool(self.fs.exists(self.full_path(path)))

    def size(self, path: str) -> int | None:
        """Size in bytes of the object at `path`, or None if it does not exist."""
        try:
            return int(self.fs.info(self.full_path(path))["size"])
        except FileNotFoundError:
            return None

    def read_bytes(self, path: str) -> bytes:
        return bytes(self.fs.cat_file(self.full_path(path)))

    def find_bytes(self, path: str) -> bytes | None:
        """The object at `path`, or None if it does not exist.

        A single request.
        """
        try:
            return self.read_bytes(path)
        except FileNotFoundError:
            return None

    def write_bytes(self, path: str, data: bytes, media_type: str) -> Ref:
        """Writes an object atomically and returns its reference."""
        target = self.full_path(path)
        if self.is_local:
            os.makedirs(os.path.dirname(target), exist_ok=True)
            temporary = _temporary_name(target)
            try:
                with open(temporary, "wb") as file:
                    file.write(data)
                os.replace(temporary, target)
            finally:
                if os.path.exists(temporary):
                    os.unlink(temporary)
        else:
            self.fs.pipe_file(target, data)
        return Ref(path=path, size_bytes=len(data), digest=digest_bytes(data), media_type=media_type)

    def put_file(self, local_path: str, path: str, media_type: str, digest: str) -> Ref:
        """Moves a local file to `path` in the store, atomically."""
        target = self.full_path(path)
        size_bytes = os.path.getsize(local_path)
        if self.is_local:
            os.makedirs(os.path.dirname(target), exist_ok=True)
            temporary = _temporary_name(target)
            shutil.move(local_path, temporary)
            os.replace(temporary, target)
        else:
            self.fs.put_file(local_path, target)
        return Ref(path=path, size_bytes=size_bytes, digest=digest, media_type=media_type)

    def remove_folder(self, path: str) -> None:
        """Removes all objects below `path`, if any."""
        if self.exists(path):
            self.fs.rm(self.full_path(path), recursive=True)

    @contextmanager
    def local_copy(self, path: str) -> Iterator[str]:
        """A local path to the object.

        The object itself in a local store, else a temporary copy.
        """
        source = self.full_path(path)
        if self.is_local:
            yield source
            return
        with tempfile.TemporaryDirectory(prefix="spatialbeam-") as folder:
            copy = os.path.join(folder, posixpath.basename(source))
            self.fs.get_file(source, copy)
            yield copy


def _temporary_name(target: str) -> str:
    folder, name = os.path.split(target)
    return os.path.join(folder, f".tmp-{uuid.uuid4().hex[:12]}-{name[-40:]}")
