"""The arrays of a clip as files."""

from __future__ import annotations

import io
import zipfile

import numpy as np
import pytest

from storage.shard_members import (
    ARRAY_MEMBERS,
    JSON_MEMBERS,
    complete_members,
    empty_member,
    is_empty_member,
    masks_bytes,
    npy_bytes,
    npz_bytes,
    pack_masks,
    read_masks,
    without_missing,
)


def test_an_archive_avoids_zip64_and_is_read_by_numpy():
    """ZIP64 headers, which NumPy requests, differ between releases of Python."""
    arrays = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.zeros((0, 2), bool)}
    data = npz_bytes(arrays)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert {member.extract_version for member in archive.infolist()} == {zipfile.DEFAULT_VERSION}
    assert data[4:6] == bytes([zipfile.DEFAULT_VERSION, 0])
    assert data[14:26] != b"\xff" * 12
    with np.load(io.BytesIO(data)) as found:
        assert list(found) == list(arrays)
        for name, array in arrays.items():
            np.testing.assert_array_equal(found[name], array)
            assert found[name].dtype == array.dtype


@pytest.mark.parametrize("suffix", [*ARRAY_MEMBERS, *JSON_MEMBERS])
def test_an_empty_member_is_told_from_one_with_content(suffix):
    assert is_empty_member(suffix, empty_member(suffix))
    if suffix in JSON_MEMBERS:
        return
    arrays = {key: np.ones([2] * len(spec.shape), spec.dtype) for key, spec in ARRAY_MEMBERS[suffix].items()}
    assert not is_empty_member(suffix, npy_bytes(arrays[""]) if "" in arrays else npz_bytes(arrays))


def test_a_sample_has_all_members_in_one_order():
    made = complete_members({"mp4": b"video", "times.npy": b"times"})
    assert list(made) == ["mp4", *ARRAY_MEMBERS, *JSON_MEMBERS]
    assert made["times.npy"] == b"times" and made["caption.json"] == b"{}"


@pytest.mark.parametrize("count", [0, 1, 3])
def test_packed_masks_are_the_same_masks(tmp_path, count):
    masks = np.random.default_rng(count).random((count, 5, 7)) < 0.3
    (tmp_path / "masks.npz").write_bytes(masks_bytes(masks) if count else npz_bytes({"shape": np.array([5, 7])}))
    pack_masks(tmp_path / "masks.npz", tmp_path / "packed.npz")
    packed = (tmp_path / "packed.npz").read_bytes()
    np.testing.assert_array_equal(read_masks(packed), masks)
    assert {key: spec.dtype for key, spec in ARRAY_MEMBERS["dyn_masks.npz"].items()} == {
        key: str(array.dtype) for key, array in np.load(io.BytesIO(packed)).items()
    }


def test_missing_values_are_left_out_of_json():
    assert without_missing({"a": None, "b": [], "c": {"d": None, "e": 0}, "f": ""}) == {"c": {"e": 0}, "f": ""}
