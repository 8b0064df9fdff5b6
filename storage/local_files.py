"""Durable and atomic writes of local files, and the names of files under way."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import socket
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

_HOST = hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]
_TEMPORARY = re.compile(r"\.tmp-(?P<host>[0-9a-f]{8})-(?P<pid>\d+)-[0-9a-f]{12}-")
_WORK_FOLDER = re.compile(r"spatialbeam-[a-z]+-(?P<host>[0-9a-f]{8})-(?P<pid>\d+)-[0-9a-f]{12}")
_MAX_NAME = 40


def temporary_name(target: str) -> str:
    """A new name beside `target`, which says which process writes it."""
    folder, name = os.path.split(target)
    return os.path.join(folder, f".tmp-{_HOST}-{os.getpid()}-{uuid.uuid4().hex[:12]}-{name[-_MAX_NAME:]}")


@contextmanager
def work_folder(purpose: str, parent: str) -> Iterator[str]:
    """A temporary folder below `parent`, whose name says which process uses it."""
    path = os.path.join(parent, f"spatialbeam-{purpose}-{_HOST}-{os.getpid()}-{uuid.uuid4().hex[:12]}")
    os.makedirs(path, mode=0o700)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def remove_left_over(folder: str) -> list[str]:
    """Removes temporary files and folders of ended processes directly in `folder`; returns their names.

    Only those whose name this module gave, on this machine; what cannot be removed stays.
    """
    removed = []
    try:
        names = os.listdir(folder)
    except OSError:
        return []
    for name in names:
        owner = _TEMPORARY.match(name) or _WORK_FOLDER.fullmatch(name)
        if owner is None or owner["host"] != _HOST or _is_running(int(owner["pid"])):
            continue
        path = os.path.join(folder, name)
        try:
            if os.path.isdir(path) and not os.path.islink(path):
                shutil.rmtree(path)
            else:
                os.unlink(path)
        except OSError:
            continue
        removed.append(name)
    return removed


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


def make_folder(path: str) -> None:
    """Makes a folder and its parents, each on disk in its parent."""
    if os.path.isdir(path):
        return
    parent = os.path.dirname(path)
    if parent and parent != path:
        make_folder(parent)
    try:
        os.mkdir(path)
    except FileExistsError:
        if not os.path.isdir(path):
            raise
        return
    sync_folder(parent or ".")


def sync_folder(path: str) -> None:
    """Waits until the entries of a folder are on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_atomic(target: str, data: bytes, *, durable: bool) -> None:
    """Writes a file under a temporary name, then renames it.

    Args:
      target: path; its folder exists.
      data: content.
      durable: whether the bytes are on disk before the file has its name.
    """
    temporary = temporary_name(target)
    try:
        with open(temporary, "wb") as file:
            file.write(data)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        os.replace(temporary, target)
    finally:
        if os.path.exists(temporary):
            os.unlink(temporary)


def move_atomic(source: str, target: str) -> None:
    """Moves a file atomically and durably to `target`.

    The target's folder exists. The bytes are on disk before the file has its name.
    """
    temporary = temporary_name(target)
    try:
        shutil.move(source, temporary)
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, target)
    finally:
        if os.path.exists(temporary):
            os.unlink(temporary)
