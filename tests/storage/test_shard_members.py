"""The arrays of a clip as files."""

from __future__ import annotations

import io
import zipfile

import numpy as np

from storage.shard_members import npz_bytes


def test_an_archive_avoids_zip64_and_is_read_by_numpy():
    """Sizes of 64 bits, as NumPy asks for them, would give other bytes with other releases of Python."""
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
