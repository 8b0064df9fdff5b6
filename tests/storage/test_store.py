from __future__ import annotations

import os
import pickle
import subprocess
import sys

import pytest

from core.digest import digest_bytes
from storage.local_files import remove_left_over, temporary_name, work_folder
from storage.store import DamagedError, Store


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
    with store.local_copy(ref) as path, open(path, "rb") as file:
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


def flip(data):
    return data[:1] + bytes([data[1] ^ 1]) + data[2:]


DAMAGES = {
    "flipped": lambda path: path.write_bytes(flip(path.read_bytes())),
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "empty": lambda path: path.write_bytes(b""),
    "longer": lambda path: path.write_bytes(path.read_bytes() + b"\n"),
    "folder": lambda path: (path.unlink(), path.mkdir()),
}


@pytest.mark.parametrize("damage", [*DAMAGES.values(), os.unlink], ids=[*DAMAGES, "deleted"])
def test_damaged_bytes_are_never_read(tmp_path, damage):
    store = Store(str(tmp_path))
    ref = store.write_bytes("a/blob", b"0123456789", "text/plain")
    store.check(ref)
    damage(tmp_path / "a" / "blob")
    for read in (store.read, store.check, lambda ref: store.local_copy(ref).__enter__()):
        with pytest.raises(DamagedError, match="'a/blob' in the store"):
            read(ref)


def test_remote_bytes_are_checked_too():
    store = Store("memory://bucket/checked")
    ref = store.write_bytes("blob", b"0123456789", "text/plain")
    assert store.read(ref) == b"0123456789"
    store.check(ref)
    store.fs.pipe_file(store.full_path("blob"), flip(b"0123456789"))
    store.check(ref, digest=False)
    for read in (store.read, store.check, lambda ref: store.local_copy(ref).__enter__()):
        with pytest.raises(DamagedError, match="differ from those written"):
            read(ref)


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_sealed_value_is_read_only_as_it_was_written(tmp_path, damage):
    store = Store(str(tmp_path))
    assert store.find_sealed("x.json") is None
    store.write_sealed("x.json", '{"poses":12}')
    assert store.find_sealed("x.json") == b'{"poses":12}'
    damage(tmp_path / "x.json")
    with pytest.raises(DamagedError):
        store.find_sealed("x.json")


def test_each_changed_byte_of_a_sealed_value_is_noticed(tmp_path):
    store = Store(str(tmp_path))
    store.write_sealed("x.json", '{"a":1}')
    data = (tmp_path / "x.json").read_bytes()
    for position in range(len(data)):
        (tmp_path / "x.json").write_bytes(data[:position] + bytes([data[position] ^ 4]) + data[position + 1 :])
        with pytest.raises(DamagedError):
            store.find_sealed("x.json")


def test_two_sealed_values_that_were_swapped_are_noticed(tmp_path):
    store = Store(str(tmp_path))
    for name in ("a", "b"):
        store.write_sealed(name, f'"{name}"')
    (tmp_path / "a").rename(tmp_path / "c")
    (tmp_path / "b").rename(tmp_path / "a")
    with pytest.raises(DamagedError):
        store.find_sealed("a")


def test_damage_travels_between_processes():
    error = pickle.loads(pickle.dumps(DamagedError("a/b", "is gone")))
    assert (error.path, error.problem, error.error_class) == ("a/b", "is gone", "StoredObjectDamaged")


def test_only_files_of_ended_processes_are_removed(tmp_path):
    code = "import sys; from storage.local_files import temporary_name; open(temporary_name(sys.argv[1]), 'w')"
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "result.json")], check=True)
    (left_over,) = os.listdir(tmp_path)
    code = "import os, sys; from storage.local_files import work_folder; under_way = work_folder('cut', sys.argv[1])"
    subprocess.run([sys.executable, "-c", code + "; under_way.__enter__(); os._exit(0)", str(tmp_path)], check=True)
    (folder,) = set(os.listdir(tmp_path)) - {left_over}
    with open(temporary_name(str(tmp_path / "live")), "w"), work_folder("cut", str(tmp_path)):
        others = {".tmp-notours", ".tmp-00000000-1-000000000000-another-host", "spatialbeam-mine", "result.json"}
        for name in others:
            (tmp_path / name).write_bytes(b"")
        live = set(os.listdir(tmp_path)) - others - {left_over, folder}
        assert set(remove_left_over(str(tmp_path))) == {left_over, folder}
        assert set(os.listdir(tmp_path)) == others | live
        assert len(live) == 2
