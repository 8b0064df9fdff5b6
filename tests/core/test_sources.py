from __future__ import annotations

import json
import os

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from core.places import normalize_uri
from core.sources import SourceError, column_name, list_videos, make_spec

HARD_NAMES = [
    "a b.mp4",
    "it's.mp4",
    'quo"te.mp4',
    "100%.mp4",
    "a:b.mp4",
    "a[1].mp4",
    "#1.mp4",
    "-x.mp4",
    "é::ü.mp4",
]


def listed(uri):
    return list(list_videos(make_spec(str(uri))))


@pytest.mark.parametrize("name", HARD_NAMES)
def test_a_hard_file_name_is_one_video(tmp_path, name):
    (tmp_path / name).write_bytes(b"x")
    assert [v.uri for v in listed(tmp_path / name)] == [str(tmp_path / name)]


def test_a_folder_is_searched_for_videos_only(tmp_path):
    (tmp_path / "deep").mkdir()
    for name in ("b.MP4", "deep/a.mkv", "notes.txt"):
        (tmp_path / name).write_bytes(b"x")
    assert [v.uri for v in listed(tmp_path)] == [str(tmp_path / "b.MP4"), str(tmp_path / "deep/a.mkv")]


def test_files_of_one_name_in_two_folders_have_two_ids(tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "x.mp4").write_bytes(b"x")
    assert len({v.video_id for v in listed(tmp_path)}) == 2


def test_a_glob_takes_any_extension(tmp_path):
    (tmp_path / "x.bin").write_bytes(b"x")
    assert [v.uri for v in listed(f"{tmp_path}/*.bin")] == [str(tmp_path / "x.bin")]


def test_one_place_has_one_spelling(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert {normalize_uri(u) for u in ("x.mp4", "./x.mp4", f"file://{tmp_path}/x.mp4", "a/../x.mp4")} == {
        f"{tmp_path}/x.mp4"
    }
    assert normalize_uri("gs://bucket/x.mp4") == "gs://bucket/x.mp4"


@pytest.mark.parametrize("uri", ["nowhere", "nothing/*.mp4", "missing.csv"])
def test_an_input_that_is_not_there_is_an_error_before_the_run(tmp_path, uri):
    with pytest.raises(SourceError, match="does not exist"):
        make_spec(str(tmp_path / uri))


ROWS = [
    {"uri": "x.mp4", "id": "first", "licence": "CC0", "fx": 500.5, "fps": 7},
    {"uri": "sub/y.mp4", "id": None, "licence": None, "fx": 1, "fps": 8},
]


def write_manifest(path, kind):
    if kind == "parquet":
        pq.write_table(pa.Table.from_pylist(ROWS), path)
    elif kind == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    else:
        path.write_text("uri,id,licence,fx,fps\nx.mp4,first,CC0,500.5,7\nsub/y.mp4,,,1,8\n")


@pytest.mark.parametrize("kind", ["csv", "parquet", "jsonl"])
def test_manifests_carry_ids_and_columns(tmp_path, kind):
    path = tmp_path / f"videos.{kind}"
    write_manifest(path, kind)
    spec = make_spec(str(path))
    first, second = list_videos(spec)
    assert first.video_id == "first"
    assert first.uri == str(tmp_path / "x.mp4")
    assert second.uri == str(tmp_path / "sub/y.mp4")
    assert second.video_id not in (None, "", "None")
    if kind == "csv":
        assert first.extra == {"licence": "CC0", "fx": "500.5", "manifest_fps": "7"}
    else:
        assert spec.extra_types == {"licence": "string", "fx": "double", "manifest_fps": "int64"}
        assert first.extra == {"licence": "CC0", "fx": 500.5, "manifest_fps": 7}


def test_bad_rows_become_failures_and_their_neighbours_stay(tmp_path):
    path = tmp_path / "videos.jsonl"
    path.write_text('{"uri": "a.mp4"}\nnot json\n{"id": "x"}\n{"uri": "b.mp4", "id": "no good/"}\n{"uri": "c.mp4"}\n')
    videos = listed(path)
    assert [v.failure.error_class if v.failure else "ok" for v in videos] == [
        "ok",
        "BadManifestRow",
        "BadManifestRow",
        "InvalidId",
        "ok",
    ]


def test_a_number_that_is_none_becomes_null(tmp_path):
    path = tmp_path / "m.parquet"
    pq.write_table(pa.table({"uri": ["a.mp4", "b.mp4"], "score": [float("nan"), 2.5]}), path)
    assert [video.extra["score"] for video in list_videos(make_spec(str(path)))] == [None, 2.5]


def test_a_manifest_without_uris_is_an_error(tmp_path):
    path = tmp_path / "videos.csv"
    path.write_text("path\nx.mp4\n")
    with pytest.raises(SourceError, match="no column 'uri'"):
        make_spec(str(path))


@pytest.mark.parametrize(
    ("name", "carried"),
    [("licence", "licence"), ("fps", "manifest_fps"), ("a b", "a_b"), ("1st", "manifest_1st")],
)
def test_carried_columns_never_clash_with_ours(name, carried):
    assert column_name(name) == carried


def test_a_name_that_is_not_utf8_is_a_failure_of_its_own(tmp_path):
    with open(os.path.join(os.fsencode(tmp_path), b"bad\xff.mp4"), "wb") as file:
        file.write(b"x")
    (tmp_path / "good.mp4").write_bytes(b"x")
    bad, good = listed(tmp_path)
    assert bad.failure.error_class == "InvalidFileName"
    assert bad.uri.endswith("bad\\xff.mp4")
    assert good.failure is None
