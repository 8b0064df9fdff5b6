from __future__ import annotations

import itertools
import json
import os

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fsspec.implementations.local import LocalFileSystem

from storage import listing
from storage.manifest_columns import column_name
from storage.sources import SourceError, SourceSpec, list_videos, make_spec
from storage.uris import normalize_uri

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


def test_a_folder_is_searched_for_videos_only(tmp_path, caplog):
    (tmp_path / "deep").mkdir()
    for name in ("b.MP4", "deep/a.mkv", "notes.txt", "deep/more.TXT", "README"):
        (tmp_path / name).write_bytes(b"x")
    with caplog.at_level("INFO"):
        assert {v.uri for v in listed(tmp_path)} == {str(tmp_path / "b.MP4"), str(tmp_path / "deep/a.mkv")}
    assert caplog.messages == [f"{tmp_path}: 3 files passed over (2 .txt, 1 without extension)"]


def test_a_folder_scan_takes_all_video_extensions(tmp_path):
    extensions = ("vob", "gif", "f4v", "qt", "mk3d", "ogv", "3gp", "m2ts", "MTS", "mxf", "divx", "asf")
    names = [f"x.{extension}" for extension in extensions]
    for name in names:
        (tmp_path / name).write_bytes(b"x")
    assert sorted(os.path.basename(v.uri) for v in listed(tmp_path)) == sorted(names)


def test_a_folder_without_videos_is_refused_at_once(tmp_path):
    with pytest.raises(SourceError, match=r"holds no video\. Remedy: "):
        make_spec(str(tmp_path))
    for name in ("a.txt", "b.txt", "c.jpg"):
        (tmp_path / name).write_bytes(b"x")
    with pytest.raises(SourceError, match=r"3 files passed over \(2 \.txt, 1 \.jpg\)\. Remedy: "):
        make_spec(str(tmp_path))


def test_a_large_folder_is_left_to_the_workers(tmp_path, monkeypatch):
    (tmp_path / "a.txt").write_bytes(b"x")
    monkeypatch.setattr("storage.sources.FOLDER_CHECK_S", -1)
    (nothing,) = listed(tmp_path)
    assert "1 file passed over (1 .txt)" in nothing.failure.message


def test_an_input_whose_name_is_not_utf8_is_refused(tmp_path):
    with pytest.raises(SourceError, match="is not UTF-8: rename it"):
        make_spec(os.fsdecode(os.fsencode(tmp_path) + b"/bad\xff"))


def test_files_of_one_name_in_two_folders_have_two_ids(tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "x.mp4").write_bytes(b"x")
    assert len({v.video_id for v in listed(tmp_path)}) == 2


def test_a_glob_takes_any_extension(tmp_path):
    (tmp_path / "x.bin").write_bytes(b"x")
    assert [v.uri for v in listed(f"{tmp_path}/*.bin")] == [str(tmp_path / "x.bin")]


@pytest.mark.parametrize("name", [*HARD_NAMES, "a%20b.mp4", "ä?b#c.mp4"])
def test_file_urls_are_decoded(tmp_path, name):
    assert normalize_uri((tmp_path / name).as_uri()) == str(tmp_path / name)
    manifest = tmp_path / "m.jsonl"
    manifest.write_text(json.dumps({"uri": (tmp_path / name).as_uri()}))
    assert [v.uri for v in listed(manifest)] == [str(tmp_path / name)]


def test_uris_are_normalized(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert {
        normalize_uri(u)
        for u in ("x.mp4", "./x.mp4", f"file://{tmp_path}/x.mp4", f"file://localhost{tmp_path}/x.mp4", "a/../x.mp4")
    } == {f"{tmp_path}/x.mp4"}
    assert normalize_uri("gs://bucket/x.mp4") == "gs://bucket/x.mp4"


@pytest.mark.parametrize("uri", ["nowhere", "nothing/*.mp4", "missing.csv"])
def test_an_input_that_is_not_there_is_an_error_before_the_run(tmp_path, uri):
    with pytest.raises(SourceError, match="does not exist"):
        make_spec(str(tmp_path / uri))


ROWS = [
    {"uri": "x.mp4", "id": "first", "license": "CC0", "fx": 500.5, "fps": 7},
    {"uri": "sub/y.mp4", "id": None, "license": None, "fx": 1, "fps": 8},
]


def write_manifest(path, kind):
    if kind == "parquet":
        pq.write_table(pa.Table.from_pylist(ROWS), path)
    elif kind == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    else:
        path.write_text("uri,id,license,fx,fps\nx.mp4,first,CC0,500.5,7\nsub/y.mp4,,,1,8\n")


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
        assert first.extra == {"license": "CC0", "fx": "500.5", "manifest_fps": "7"}
    else:
        assert spec.extra_types == {"license": "string", "fx": "double", "manifest_fps": "int64"}
        assert first.extra == {"license": "CC0", "fx": 500.5, "manifest_fps": 7}


def test_bad_rows_become_failures_and_their_neighbors_stay(tmp_path):
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


def test_nan_becomes_null(tmp_path):
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
    [("license", "license"), ("fps", "manifest_fps"), ("a b", "a_b"), ("1st", "manifest_1st")],
)
def test_extra_columns_never_clash_with_reserved_names(name, carried):
    assert column_name(name) == carried


def test_a_name_that_is_not_utf8_is_a_failure_of_its_own(tmp_path):
    with open(os.path.join(os.fsencode(tmp_path), b"bad\xff.mp4"), "wb") as file:
        file.write(b"x")
    (tmp_path / "good.mp4").write_bytes(b"x")
    good, bad = sorted(listed(tmp_path), key=lambda video: video.failure is not None)
    assert bad.failure.error_class == "InvalidFileName"
    assert bad.uri.endswith("bad\\xff.mp4")
    assert good.failure is None


class InfiniteFileSystem(fsspec.AbstractFileSystem):
    """Folders without end; keeps count of those that were listed."""

    protocol = "endless"
    listed = 0

    def ls(self, path, detail=True, **kwargs):
        type(self).listed += 1
        number = path.rsplit("/", 1)[-1]
        if number.endswith(".mp4"):
            raise FileNotFoundError(path)
        inside = {f"{path}/{name}.mp4": "file" for name in "ab"} | {f"{path}/{number}x": "directory"}
        return [{"name": name, "size": 1, "type": kind} for name, kind in inside.items()]

    def info(self, path, **kwargs):
        if "*" in path:
            raise FileNotFoundError(path)
        return {"name": path, "size": 1, "type": "file" if path.endswith(".mp4") else "directory"}


@pytest.mark.parametrize("name", ["endless://videos", "endless://videos/**/*.mp4"])
def test_listing_is_lazy(name):
    fsspec.register_implementation("endless", InfiniteFileSystem, clobber=True)
    InfiniteFileSystem.listed = 0
    spec = make_spec(name)
    assert InfiniteFileSystem.listed <= 1
    videos = [video.uri for video in itertools.islice(list_videos(spec), 5)]
    assert videos[:3] == ["endless://videos/a.mp4", "endless://videos/b.mp4", "endless://videos/videosx/a.mp4"]
    assert InfiniteFileSystem.listed <= 4


class PagedBucket(fsspec.AbstractFileSystem):
    """A bucket of the Google store's protocol as its service answers: page by page."""

    protocol = ("gs",)
    names = tuple(f"in/{number:02d}.mp4" for number in range(7))
    asked = 0

    def info(self, path, **kwargs):
        return {"name": path, "size": 0, "type": "directory"}

    def call(self, method, path, bucket, *, prefix, pageToken, maxResults, fields, json_out):
        self.asked += 1
        start = int(pageToken or 0)
        page = {"items": [{"name": name} for name in self.names[start : start + maxResults]]}
        return page | ({"nextPageToken": str(start + maxResults)} if start + maxResults < len(self.names) else {})


def test_a_bucket_is_listed_page_by_page(monkeypatch):
    monkeypatch.setattr(listing, "PAGE_OBJECTS", 3)
    fs = PagedBucket()
    found = listing.stream_files(fs, "bucket/in")
    assert (next(found), fs.asked) == ("bucket/in/00.mp4", 1)
    assert [*found] == [f"bucket/{name}" for name in fs.names[1:]]
    assert fs.asked == 3


@pytest.mark.parametrize("pattern", ["*.mp4", "s?b/[a-y]*.mp4", "**/*.mp4", "**", "*/*/*", "none*", "*"])
def test_globs_follow_fsspec(tmp_path, pattern):
    for name in ("a.mp4", "sub/b.mp4", "sub/deep/c.mp4", "sub/z.mp4", ".hidden.mp4"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "link.mp4").symlink_to(tmp_path / "sub")
    (tmp_path / "other.mp4").symlink_to(tmp_path / "a.mp4")
    fs = LocalFileSystem()
    expected = [path for path in fs.glob(f"{tmp_path}/{pattern}") if fs.isfile(path)]
    assert sorted(listing.stream_files(fs, f"{tmp_path}/{pattern}")) == expected


def test_a_source_without_videos_is_a_failure(tmp_path):
    (tmp_path / "notes.txt").write_bytes(b"x")
    (tmp_path / "rows.csv").write_text("uri,id\n")
    for path in (tmp_path, tmp_path / "rows.csv"):
        spec = SourceSpec(uri=str(path))
        (nothing,) = list_videos(spec)
        assert (nothing.uri, nothing.failure.error_class) == (str(path), "NothingFound")


def test_a_folder_that_cannot_be_read_is_a_failure_and_the_rest_is_found(tmp_path, monkeypatch):
    for name in ("closed", "open"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.mp4").write_bytes(b"x")
    scan = os.scandir

    def refuse(path):
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", path)
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    found = {os.path.relpath(v.uri, tmp_path): v.failure and v.failure.error_class for v in listed(tmp_path)}
    assert found == {"open/x.mp4": None, "closed": "UnreadableFolder"}
