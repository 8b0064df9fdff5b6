from __future__ import annotations

import json

import fsspec
import pytest

from core.failures import ItemError
from storage.input_manifest import read_types, to_video
from storage.manifest_columns import CellError, SourceError
from storage.manifest_rows import ManifestRow

TYPES = {"place": "string", "year": "int64"}


def types_of(tmp_path, name, text):
    path = tmp_path / name
    path.write_text(text)
    return read_types(str(path), fsspec.filesystem("file"), str(path))


def row(**values):
    return ManifestRow(number=2, values=values)


def test_types_are_inferred(tmp_path):
    lines = [{"uri": "a.mp4", "year": 2000}, {"uri": "b.mp4", "year": 1.5, "status": True}]
    assert types_of(tmp_path, "m.jsonl", "\n".join(map(json.dumps, lines))) == {
        "year": "double",
        "manifest_status": "bool",
    }
    assert types_of(tmp_path, "m.csv", "uri,id,year\na.mp4,x,2000\n") == {"year": "string"}


def test_a_manifest_without_uris_is_refused(tmp_path):
    with pytest.raises(SourceError, match="no column 'uri'"):
        types_of(tmp_path, "m.csv", "path,year\na.mp4,2000\n")


def test_a_row_becomes_a_video_with_its_columns():
    video = to_video(row(uri="a.mp4", id="x-1", place="Rome", year=2000), "/base", TYPES)
    assert (video.video_id, video.uri, video.extra) == ("x-1", "/base/a.mp4", {"place": "Rome", "year": 2000})
    assert len(to_video(row(uri="a.mp4"), "/base", TYPES).video_id) == 16


@pytest.mark.parametrize(
    ("values", "error_class", "words"),
    [
        ({"uri": " "}, "BadManifestRow", "no uri"),
        ({"uri": 3}, "BadManifestRow", "no path or URL"),
        ({"uri": "a.mp4", "id": "../x"}, "InvalidId", "file names"),
        ({"uri": "a.mp4", "year": "soon"}, "BadManifestRow", "'year'"),
        ({"uri": "a.mp4", "late": 1}, "BadManifestRow", "none of the first"),
    ],
)
def test_bad_rows_are_refused_with_cause_and_remedy(values, error_class, words):
    with pytest.raises(ItemError, match=words) as error:
        to_video(row(**values), "/base", TYPES)
    assert error.value.error_class == error_class and error.value.remedy


def test_a_row_that_could_not_be_read_keeps_its_reason():
    broken = ManifestRow(number=3, error=CellError("the line is cut off", "write the file again"))
    with pytest.raises(ItemError, match="cut off"):
        to_video(broken, "/base", TYPES)
