from __future__ import annotations

import fsspec
import pytest

from storage.listing import stream_files

FILES = ["a.mp4", "b.mkv", "deep/c.mp4", "deep/er/d.mp4", "deep/[1].mp4"]


@pytest.fixture
def folder(tmp_path):
    for name in FILES:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return tmp_path


def found(folder, pattern="", **options):
    names = stream_files(fsspec.filesystem("file"), f"{folder}/{pattern}".rstrip("/"), **options)
    return sorted(name.removeprefix(f"{folder}/") for name in names)


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("", sorted(FILES)),
        ("a.mp4", ["a.mp4"]),
        ("*.mp4", ["a.mp4"]),
        ("*/*.mp4", ["deep/[1].mp4", "deep/c.mp4"]),
        ("**/*.mp4", ["a.mp4", "deep/[1].mp4", "deep/c.mp4", "deep/er/d.mp4"]),
        ("deep/[[]1].mp4", ["deep/[1].mp4"]),
        ("none*.mp4", []),
        ("missing", []),
    ],
)
def test_files_folders_and_globs(folder, pattern, expected):
    assert found(folder, pattern) == expected


def test_links_to_folders_are_not_followed(folder):
    (folder / "loop").symlink_to(folder)
    assert found(folder, "**") == sorted(FILES)
    assert [name for name in found(folder) if name.startswith("loop/")] == []


def test_an_unreadable_folder_is_reported_and_the_others_are_listed(folder, monkeypatch):
    from storage import listing

    original, errors = listing._list_folder, []

    def fails_in_er(fs, path):
        if path.endswith("/er"):
            raise PermissionError(path)
        return original(fs, path)

    monkeypatch.setattr(listing, "_list_folder", fails_in_er)
    assert found(folder, on_error=errors.append) == sorted(set(FILES) - {"deep/er/d.mp4"})
    assert len(errors) == 1
