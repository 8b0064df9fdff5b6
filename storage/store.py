"""The store of a run: immutable objects in an fsspec folder, referenced by `Ref`."""

from __future__ import annotations

import hashlib
import os
import posixpath
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import fsspec

from core.digest import DIGEST_LENGTH, digest_bytes
from core.failures import ItemError
from core.references import Ref
from storage.local_files import make_folder, move_atomic, remove_left_over, sync_folder, work_folder, write_atomic
from storage.uris import UriError, is_local, normalize_uri, open_uri

_SEAL_HEAD, _SEAL_MIDDLE, _SEAL_TAIL = b'{"digest":"', b'","value":', b"}"
_SEAL_LENGTH = len(_SEAL_HEAD) + DIGEST_LENGTH + len(_SEAL_MIDDLE)
_CHUNK_BYTES = 1 << 20


class DamagedError(ItemError):
    """A stored object is absent, unreadable, or not the one that was written."""

    def __init__(self, path: str, cause: str) -> None:
        super().__init__(
            "StoredObjectDamaged", f"{path!r} in the store {cause}.", "run again: it is then computed anew."
        )
        self.path, self.problem = path, cause

    def __reduce__(self) -> Any:
        return type(self), (self.path, self.problem)


class Store:
    """Reads and writes objects below `root_uri` (a local folder or any fsspec URI).

    Writes are atomic: a temporary file and a rename locally, a single put on object stores. They are idempotent too:
    the path contains the digest of everything that the bytes depend on. Local files are on disk before they have
    their name. What is read by `Ref`, or was sealed, is checked against size and digest.
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

    def write_bytes(self, path: str, data: bytes, media_type: str, *, durable: bool = True) -> Ref:
        """Writes an object atomically and returns its reference.

        Args:
          path: store path.
          data: content.
          media_type: MIME type.
          durable: whether a local file's bytes are on disk on return.
        """
        target = self.full_path(path)
        if self.is_local:
            make = make_folder if durable else partial(os.makedirs, exist_ok=True)
            make(os.path.dirname(target))
            write_atomic(target, data, durable=durable)
        else:
            self.fs.pipe_file(target, data)
        return Ref(path=path, size_bytes=len(data), digest=digest_bytes(data), media_type=media_type)

    def put_file(self, local_path: str, path: str, media_type: str, digest: str | None = None) -> Ref:
        """Moves a local file to `path` in the store, atomically.

        `digest` is that of its bytes, where it is known.
        """
        target = self.full_path(path)
        size_bytes, digest = os.path.getsize(local_path), digest or file_digest(local_path)
        if self.is_local:
            make_folder(os.path.dirname(target))
            move_atomic(local_path, target)
        else:
            self.fs.put_file(local_path, target)
        return Ref(path=path, size_bytes=size_bytes, digest=digest, media_type=media_type)

    def sync(self, folder: str) -> None:
        """Waits until file names in a local store's `folder` are on disk.

        Elsewhere a put has done that.
        """
        if self.is_local:
            sync_folder(self.full_path(folder))

    def remove_left_over(self, folder: str = "") -> None:
        """Removes temporary files in `folder` of processes of this machine that have ended."""
        if self.is_local:
            remove_left_over(self.full_path(folder))

    def read(self, ref: Ref) -> bytes:
        """The bytes that `ref` refers to.

        Raises:
          DamagedError: if they are absent or not those that were written.
        """
        with self._damage(ref.path):
            data = self.read_bytes(ref.path)
        if problem := _difference(ref, len(data), digest_bytes(data)):
            raise DamagedError(ref.path, problem)
        return data

    def check(self, ref: Ref, *, digest: bool = True) -> None:
        """Checks the stored bytes against their reference.

        Args:
          ref: the reference.
          digest: whether they are read; else only their size is compared.

        Raises:
          DamagedError: if they are absent or not those that were written.
        """
        with self._damage(ref.path):
            size = self.size(ref.path)
            if size is None:
                raise FileNotFoundError(ref.path)
            # An object of another size needs no reading.
            found = self.digest(ref.path)[: len(ref.digest)] if digest and size == ref.size_bytes else ref.digest
        if problem := _difference(ref, size, found):
            raise DamagedError(ref.path, problem)

    def digest(self, path: str) -> str:
        """SHA-256 of the object at `path`, hexadecimal; one chunk is in memory at a time."""
        hasher = hashlib.sha256()
        with self.fs.open(self.full_path(path), "rb") as file:
            while chunk := file.read(_CHUNK_BYTES):
                hasher.update(chunk)
        return hasher.hexdigest()

    def write_sealed(self, path: str, json_text: str) -> None:
        """Writes a JSON value with the digest of the value and its path."""
        payload = json_text.encode()
        data = _SEAL_HEAD + _seal(path, payload).encode() + _SEAL_MIDDLE + payload + _SEAL_TAIL
        self.write_bytes(path, data, "application/json", durable=False)

    def find_sealed(self, path: str) -> bytes | None:
        """JSON text of the value that `write_sealed` wrote, or None.

        Raises:
          DamagedError: if it is unreadable, or not the one that was written there.
        """
        with self._damage(path):
            data = self.find_bytes(path)
        if data is None:
            return None
        payload, head = data[_SEAL_LENGTH:-1], data[:_SEAL_LENGTH]
        if head != _SEAL_HEAD + _seal(path, payload).encode() + _SEAL_MIDDLE or data[-1:] != _SEAL_TAIL:
            raise DamagedError(path, f"has {len(data)} bytes that differ from those written")
        return payload

    @contextmanager
    def _damage(self, path: str) -> Iterator[None]:
        """Raises `DamagedError` where a read fails for a reason that another try would not change."""
        try:
            yield
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
            raise DamagedError(path, "is gone") from error
        except OSError as error:
            if not self.is_local:
                raise
            raise DamagedError(path, f"cannot be read ({error.strerror or error})") from error

    def remove_folder(self, path: str) -> None:
        """Removes all objects below `path`, if any."""
        if self.exists(path):
            self.fs.rm(self.full_path(path), recursive=True)

    @contextmanager
    def local_copy(self, ref: Ref) -> Iterator[str]:
        """A local path to the verified bytes that `ref` refers to.

        The object itself in a local store, else a temporary copy.

        Raises:
          DamagedError: if they are absent or not those that were written.
        """
        source = self.full_path(ref.path)
        if self.is_local:
            self.check(ref)
            yield source
            return
        with work_folder("copy", tempfile.gettempdir()) as folder:
            copy = os.path.join(folder, posixpath.basename(source))
            with self._damage(ref.path):
                self.fs.get_file(source, copy)
            if problem := _difference(ref, os.path.getsize(copy), file_digest(copy)):
                raise DamagedError(ref.path, problem)
            yield copy


def file_digest(path: str) -> str:
    """SHA-256 of a local file, hexadecimal, shortened to 128 bits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:DIGEST_LENGTH]


def _difference(ref: Ref, size_bytes: int, digest: str) -> str | None:
    """How bytes differ from those that `ref` refers to; None if they do not."""
    if size_bytes != ref.size_bytes:
        return f"has {size_bytes} bytes, not {ref.size_bytes}"
    return None if digest == ref.digest else f"has {size_bytes} bytes that differ from those written"


def _seal(path: str, payload: bytes) -> str:
    """Digest of a value and its path, so that swapped files are noticed."""
    return digest_bytes(posixpath.normpath(path).encode() + b"\0" + payload)
