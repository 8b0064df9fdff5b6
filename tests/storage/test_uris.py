from __future__ import annotations

import os

import pytest
from fsspec.implementations.local import LocalFileSystem
from hypothesis import given
from hypothesis import strategies as st

from storage.uris import UriError, is_local, is_url, is_utf8, normalize_uri, open_uri


@pytest.mark.parametrize(
    ("uri", "base", "expected"),
    [
        ("/a/b.mp4", None, "/a/b.mp4"),
        ("b.mp4", "/a", "/a/b.mp4"),
        ("../b.mp4", "/a/c", "/a/b.mp4"),
        ("b.mp4", "gs://bucket/a", "gs://bucket/a/b.mp4"),
        ("s3://bucket/a%20b", "/a", "s3://bucket/a%20b"),
        ("file:///a%20b.mp4", None, "/a b.mp4"),
        ("file://localhost/a.mp4", None, "/a.mp4"),
    ],
)
def test_uris_are_normalized(uri, base, expected):
    assert normalize_uri(uri, base) == expected


def test_relative_paths_and_homes_are_made_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/me")
    assert normalize_uri("x.mp4") == str(tmp_path / "x.mp4")
    assert normalize_uri("~/x.mp4") == "/home/me/x.mp4"


@given(st.text(st.characters(blacklist_characters="\0", blacklist_categories=("Cs",)), min_size=1))
def test_normalizing_twice_changes_nothing(name):
    path = os.path.join("/videos", name)
    assert normalize_uri(normalize_uri(path)) == normalize_uri(path)


def test_local_paths_are_opened_literally():
    fs, path = open_uri("/a::b/[x].mp4")
    assert isinstance(fs, LocalFileSystem) and is_local(fs) and path == "/a::b/[x].mp4"
    assert not is_local(open_uri("memory://x")[0])


def test_an_unknown_protocol_is_refused_with_a_remedy():
    with pytest.raises(UriError, match="Remedy: install the package"):
        open_uri("nosuch://bucket/x")


def test_what_tables_can_hold():
    assert is_utf8("/ä.mp4") and not is_utf8("/\udcff.mp4")
    assert is_url("gs://x") and not is_url("/gs://x")
