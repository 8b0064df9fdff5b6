from __future__ import annotations

import os
import pickle

import pytest

from core.digest import digest_bytes
from storage.store import Store


def test_objects_round_trip_with_their_digest(tmp_path):
    store = Store(str(tmp_path / "a b#%"))
    ref = store.write_bytes("stage/x.bin", b"data", "application/octet-stream")
    assert store.read_bytes(ref.path) == b"data"
    assert (ref.size_bytes, ref.digest) == (4, digest_bytes(b"data"))
    assert store.size("stage/x.bin") == 4
    assert store.size("stage/none") is None


def test_a_failed_write_leaves_nothing(tmp_path, monkeypatch):
    store = Store(str(tmp_path))

    def refuse(source, target):
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(OSError, match="disk full"):
        store.write_bytes("x.bin", b"data", "application/octet-stream")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("path", ["../x", "/etc/passwd", "a/../../x"])
def test_a_path_cannot_leave_the_store(tmp_path, path):
    with pytest.raises(ValueError, match="outside"):
        Store(str(tmp_path)).write_bytes(path, b"", "text/plain")


def test_other_file_systems_work():
    store = Store("memory://bucket/run")
    ref = store.write_bytes("a/b.txt", b"hello", "text/plain")
    assert store.exists(ref.path)
    with store.local_copy(ref.path) as path, open(path, "rb") as file:
        assert file.read() == b"hello"


def test_a_local_file_is_moved_into_the_store(tmp_path):
    source = tmp_path / "source"
    source.write_bytes(b"abc")
    store = Store(str(tmp_path / "store"))
    ref = store.put_file(str(source), "x/y.bin", "application/octet-stream", "digest")
    assert store.read_bytes("x/y.bin") == b"abc"
    assert ref.size_bytes == 3
    assert not source.exists()


def test_a_store_can_be_pickled(tmp_path):
    store = Store(str(tmp_path))
    store.write_bytes("x", b"1", "text/plain")
    assert pickle.loads(pickle.dumps(store)).read_bytes("x") == b"1"
