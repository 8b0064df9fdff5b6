"""Manifest rows reach the tables unchanged or are refused with cause and remedy."""

from __future__ import annotations

import codecs
import dataclasses
import datetime
import json
import math
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.records import VideoRecord
from core.serialization import from_json_text, to_json_text
from storage.manifest_columns import MAX_CELL_BYTES, MAX_NESTING, SourceError, column_name
from storage.manifest_rows import MAX_ROW_CHARS
from storage.rows import video_row
from storage.sources import list_videos, make_spec, make_specs
from storage.tables import table_specs
from tests.support.paths import CASES, NO_CASES
from transforms.dataset import _partitioned, _WriteTableDoFn

MANIFESTS = CASES / "manifests"
needs_cases = pytest.mark.skipif(not MANIFESTS.is_dir(), reason=NO_CASES)
PROPERTY = settings(
    deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


def read(*paths):
    """Videos and failures of manifests, and the rows of the video table."""
    specs = make_specs(map(str, paths))
    videos = [video for spec in specs for video in list_videos(spec)]
    return videos, write(paths[0].parent / "out", specs, videos)


def write(folder, specs, videos):
    tables = table_specs({name: kind for spec in specs for name, kind in spec.extra_types.items()})
    passed_on = [from_json_text(VideoRecord, to_json_text(video)) for video in videos]
    rows = [_partitioned(("videos", video_row(v, None)), {"videos": 1}, tables, 10**6)[1] for v in passed_on]
    (file,) = _WriteTableDoFn(str(folder), tables).process((("videos", 0, 1), rows))
    written = sorted(pq.read_table(folder / file.path).to_pylist(), key=lambda row: row["video_id"])
    order = sorted(range(len(videos)), key=lambda i: videos[i].video_id)
    return [row for _, row in sorted(zip(order, written, strict=True), key=lambda pair: pair[0])]


def extras(path, *more):
    videos, rows = read(path, *more)
    names = sorted({name for video in videos for name in video.extra})
    return [{name: row[name] for name in names} for row in rows]


def refused(videos):
    return [(v.uri.rpartition("#row=")[2], v.failure.message) for v in videos if v.failure]


def put(folder, name, data):
    path = folder / name
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


@needs_cases
@pytest.mark.parametrize(
    ("name", "good", "row", "words"),
    [
        ("big.jsonl", ["x.gif"], "1", ["big.jsonl, row 1 (line 1)", "'n' holds 9999999", "64 bits", "as text"]),
        ("bom.jsonl", ["a b.mp4"], "2", ["bom.jsonl, row 2", r"'s' holds '\ud83d'", "surrogate"]),
        ("types.parquet", ["x.gif"], "1", ["types.parquet, row 1", "'n' holds 9223372036854775813", "64 bits"]),
        ("long.csv", [], "1", ["long.csv, row 1 (line 2)", "'caption'", "140000 bytes", "shorten"]),
        ("cp1252.csv", [], "1", ["cp1252.csv, row 1 (line 2)", r"'title' holds 'caf\xe9'", "iconv"]),
        ("badutf8.csv", [], "1", ["badutf8.csv, row 1 (line 2)", r"'note' holds '\xff\xfe'", "iconv"]),
        ("deep_nesting.jsonl", ["a b.mp4"], "2", ["deep_nesting.jsonl, row 2", "nested", "flatten"]),
        ("longline.jsonl", ["a b.mp4"], "3", ["longline.jsonl, row 3", "'n' holds '999", "5000 characters"]),
        ("utf16.csv", ["a b.mp4"], None, []),
        ("nul.csv", ["a b.mp4"], None, []),
    ],
)
def test_cases(tmp_path, name, good, row, words):
    put(tmp_path, name, (MANIFESTS / name).read_bytes())
    videos, rows = read(tmp_path / name)
    assert len(rows) == len(videos)
    assert [v.uri.removeprefix(f"{tmp_path}/") for v in videos if not v.failure] == good
    messages = dict(refused(videos))
    if row is None:
        assert messages == {}
    else:
        assert [word for word in words if word not in messages[row]] == []
        assert "\n" not in messages[row]
        assert len(messages[row]) < 400


@needs_cases
def test_cases_across_inputs(tmp_path):
    for name in ("mixa.csv", "mixb.parquet"):
        put(tmp_path, name, (MANIFESTS / name).read_bytes())
    assert extras(tmp_path / "mixa.csv", tmp_path / "mixb.parquet") == [{"n": "hello"}, {"n": "7"}]
    with pytest.raises(SourceError, match=r"'a b' and 'a_b' would both be 'a_b'.*Remedy: rename"):
        make_spec(str(MANIFESTS / "collide.csv"))


@pytest.mark.parametrize(
    ("first", "second", "values"),
    [
        ([1], [2.5], [1.0, 2.5]),
        ([1], ["x"], ["1", "x"]),
        ([None], [3], [None, 3]),
        ([True], [2], ["true", "2"]),
        ([None], [None], [None, None]),
        ([[1]], [2.0], ["[1]", "2.0"]),
    ],
)
def test_types_are_compared_across_inputs(tmp_path, first, second, values):
    pq.write_table(pa.table({"uri": ["a.mp4"], "n": first}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"uri": ["b.mp4"], "n": second}), tmp_path / "b.parquet")
    assert [row["n"] for row in extras(tmp_path / "a.parquet", tmp_path / "b.parquet")] == values


def test_types_of_parquet(tmp_path):
    moment = datetime.datetime(2024, 1, 31, 12, 30, tzinfo=datetime.UTC)
    columns = {
        "uri": ["a.mp4"],
        "when": pa.array([moment], pa.timestamp("ms", "UTC")),
        "day": [moment.date()],
        "price": [Decimal("1.25")],
        "tags": [["x", "é"]],
        "flag": [True],
        "nothing": pa.nulls(1),
        "half": pa.array([1.5], pa.float32()),
        "raw": [b"\xff\x00"],
        "pair": [{"b": Decimal("0.10"), "a": [float("nan")]}],
        "word": pa.array(["q"]).dictionary_encode(),
    }
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    assert extras(tmp_path / "a.parquet") == [
        {
            "when": "2024-01-31T12:30:00+00:00",
            "day": "2024-01-31",
            "price": "1.25",
            "tags": '["x", "é"]',
            "flag": True,
            "nothing": None,
            "half": 1.5,
            "raw": "ff00",
            "pair": '{"a": [null], "b": "0.10"}',
            "word": "q",
        }
    ]


def test_times_in_nanoseconds_keep_all_digits(tmp_path):
    moment = 1706704200123456789
    columns = {
        "paris": pa.array([moment, moment - 789, None], pa.int64()).cast(pa.timestamp("ns", "Europe/Paris")),
        "old": pa.array([-1, -1000, 0], pa.int64()).cast(pa.timestamp("ns")),
        "time": pa.array([3_000_000_001, 0, None], pa.int64()).cast(pa.time64("ns")),
        "long": pa.array([1_500_000_001, -(10**9), None], pa.int64()).cast(pa.duration("ns")),
        "short": pa.array([1_500_000, 10**7, None], pa.int64()).cast(pa.duration("us")),
    }
    pq.write_table(pa.table({"uri": ["a.mp4", "b.mp4", "c.mp4"], **columns}), tmp_path / "a.parquet")
    first, second, third = extras(tmp_path / "a.parquet")
    assert first == {
        "paris": "2024-01-31T13:30:00.123456789+01:00",
        "old": "1969-12-31T23:59:59.999999999",
        "time": "00:00:03.000000001",
        "long": "1.500000001",
        "short": "1.5",
    }
    assert [*second.values()] == [
        "-1",
        "1969-12-31T23:59:59.999999",
        "2024-01-31T13:30:00.123456+01:00",
        "10",
        "00:00:00",
    ]
    assert third == {"paris": None, "old": "1970-01-01T00:00:00", "time": None, "long": None, "short": None}


def test_cells_that_arrow_cannot_convert_are_refused_one_by_one(tmp_path):
    far = pa.array([10**15, 0], pa.int64()).cast(pa.timestamp("s"))
    broken = pa.Array.from_buffers(pa.string(), 2, pa.array([b"\xff", b"ok"]).buffers())
    pq.write_table(pa.table({"uri": ["a.mp4", "b.mp4"], "t": far}), tmp_path / "far.parquet")
    pq.write_table(pa.table({"uri": ["a.mp4", "b.mp4"], "s": broken}), tmp_path / "broken.parquet")
    for name, column in (("far", "'t'"), ("broken", "'s'")):
        videos, _ = read(tmp_path / f"{name}.parquet")
        assert [bool(video.failure) for video in videos] == [True, False]
        assert column in videos[0].failure.message


def test_a_damaged_row_group_costs_its_own_rows_only(tmp_path):
    path = tmp_path / "a.parquet"
    words = [f"{i * 7919 % 1000:03d}.mp4" for i in range(300)]
    pq.write_table(pa.table({"uri": words}), path, row_group_size=100, compression="gzip", use_dictionary=False)
    chunk = pq.ParquetFile(path).metadata.row_group(1).column(0)
    data = bytearray(path.read_bytes())
    start = chunk.data_page_offset + chunk.total_compressed_size // 2
    data[start : start + 40] = bytes(40)
    path.write_bytes(data)
    videos, _ = read(path)
    assert [v.uri.rpartition("/")[2] for v in videos if not v.failure] == words[:100] + words[200:]
    ((row, message),) = refused(videos)
    assert (row, "the rows 101 to 200 cannot be read" in message) == ("101", True)


@pytest.mark.parametrize("data", [b"", b"PAR1", b"not parquet at all"])
def test_a_file_that_is_no_parquet_is_refused_before_the_run(tmp_path, data):
    with pytest.raises(SourceError, match="cannot be read"):
        make_spec(str(put(tmp_path, "a.parquet", data)))


def test_a_folder_named_like_a_manifest_is_refused(tmp_path):
    (tmp_path / "a.parquet").mkdir()
    with pytest.raises(SourceError, match="is a folder"):
        make_spec(str(tmp_path / "a.parquet"))


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
@pytest.mark.parametrize(
    ("bom", "encoding"),
    [
        (b"", "utf-8"),
        (codecs.BOM_UTF8, "utf-8"),
        (codecs.BOM_UTF16_LE, "utf-16-le"),
        (codecs.BOM_UTF16_BE, "utf-16-be"),
        (b"", "utf-16-le"),
        (b"", "utf-16-be"),
    ],
)
def test_encodings(tmp_path, kind, bom, encoding):
    text = (
        'uri,title\r\na.mp4,é😀\r\nb.mp4,"x\ny"\r\n'
        if kind == "csv"
        else ('{"uri": "a.mp4", "title": "é😀"}\r\n{"uri": "b.mp4", "title": "x\\ny"}\r\n')
    )
    path = put(tmp_path, f"a.{kind}", bom + text.encode(encoding))
    assert extras(path) == [{"title": "é😀"}, {"title": "x\ny"}]


def test_other_encodings_are_refused_with_the_way_to_convert(tmp_path):
    path = put(tmp_path, "a.csv", "uri\na.mp4\n".encode("utf-32"))
    with pytest.raises(SourceError, match=r"UTF-32.*Remedy: convert it: `iconv"):
        make_spec(str(path))
    path = put(tmp_path, "a.csv", "uri,größe\na.mp4,1\n".encode("cp1252"))
    with pytest.raises(SourceError, match=r"not UTF-8.*iconv -f CP1252"):
        make_spec(str(path))


def test_utf16_that_is_cut_off_or_torn_keeps_its_other_rows(tmp_path):
    text = (
        "uri,title\r\na.mp4,x\r\nb.mp4,".encode("utf-16") + b"\x00\xd8" + "\r\nc.mp4,y\r\nd.mp4,z".encode("utf-16-le")
    )
    videos, _ = read(put(tmp_path, "a.csv", text + b"q"))
    assert [v.uri[-5:] for v in videos if not v.failure] == ["a.mp4", "c.mp4"]
    assert [row for row, _ in refused(videos)] == ["2", "4"]


@pytest.mark.parametrize(
    "header", ["uri,a,a", "uri,uri", "uri,id,id", "uri,Title,title", "uri,fps,manifest_fps", "uri,,"]
)
def test_columns_that_would_be_one_are_refused(tmp_path, header):
    with pytest.raises(SourceError, match="Remedy: rename or remove one"):
        make_spec(str(put(tmp_path, "a.csv", f"{header}\na.mp4,1,2\n")))


def test_colliding_columns_of_rows_and_of_other_formats_are_refused(tmp_path):
    videos, _ = read(
        put(tmp_path, "a.jsonl", '{"uri": "a.mp4"}\n{"uri": "b.mp4", "a b": 1, "a_b": 2}\n{"uri": 1, "uri": 2}\n')
    )
    assert [row for row, _ in refused(videos)] == ["2", "3"]
    with pytest.raises(SourceError, match="'a b' and 'a_b'"):
        make_spec(str(put(tmp_path, "b.jsonl", '{"uri": "a.mp4", "a b": 1}\n{"uri": "b.mp4", "a_b": 2}\n')))
    pq.write_table(pa.table([["a.mp4"], [1], [2]], names=["uri", "x", "x"]), tmp_path / "a.parquet")
    with pytest.raises(SourceError, match="'x' occurs twice"):
        make_spec(str(tmp_path / "a.parquet"))
    paths = [put(tmp_path, "c.csv", "uri,Title\na.mp4,1\n"), put(tmp_path, "d.csv", "uri,title\na.mp4,1\n")]
    with pytest.raises(SourceError, match="do not fit together"):
        make_specs(map(str, paths))


def test_an_open_quote_costs_one_row(tmp_path):
    rows = [f"{i}.mp4,t" for i in range(50)]
    rows[10] = '10.mp4,"open'
    videos, _ = read(put(tmp_path, "a.csv", "uri,title\n" + "\n".join(rows) + "\n"))
    assert [v.uri.rpartition("/")[2] for v in videos if not v.failure] == [f"{i}.mp4" for i in range(50) if i != 10]
    ((row, message),) = refused(videos)
    assert (row, "(line 12)" in message, "close each quoted field" in message) == ("11", True, True)


def test_rows_of_any_length_cost_themselves_only(tmp_path):
    long = "x" * (3 * MAX_ROW_CHARS + 7)
    videos, _ = read(put(tmp_path, "a.csv", f"uri,t\na.mp4,{long}\nb.mp4,y\nc.mp4,1,2\nd.mp4,1,,\ne.mp4\n"))
    assert [v.uri[-5:] for v in videos if not v.failure] == ["b.mp4", "d.mp4", "e.mp4"]
    line = json.dumps({"uri": "a.mp4", "t": long})
    videos, _ = read(put(tmp_path, "a.jsonl", f'{line}\n{{"uri": "b.mp4", "t": "y"}}\n{line}'))
    assert [v.uri[-5:] for v in videos if not v.failure] == ["b.mp4"]


def test_bounds_are_exact(tmp_path):
    nested = "[" * MAX_NESTING + "]" * MAX_NESTING
    cells = ['"' + "é" * (MAX_CELL_BYTES // 2) + '"', '"' + "é" * (MAX_CELL_BYTES // 2) + 'x"', nested, f"[{nested}]"]
    text = "".join(f'{{"uri": "{i}.mp4", "c": {cell}}}\n' for i, cell in enumerate(cells))
    videos, _ = read(put(tmp_path, "a.jsonl", text))
    assert [bool(video.failure) for video in videos] == [False, True, False, True]


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        ("true", None),
        ('"x"', None),
        ("2.5", None),
        ("9223372036854775807", 2**63 - 1),
        ("-9223372036854775809", None),
        ("null", None),
        ("[1]", None),
    ],
)
def test_a_value_of_another_type_is_refused(tmp_path, monkeypatch, value, kept):
    monkeypatch.setattr("storage.input_manifest.TYPE_SAMPLE_ROWS", 1)
    videos, rows = read(put(tmp_path, "a.jsonl", f'{{"uri": "a.mp4", "n": 1}}\n{{"uri": "b.mp4", "n": {value}}}\n'))
    assert rows[1]["n"] == kept
    assert bool(videos[1].failure) == (kept is None and value != "null")


def test_a_column_that_comes_late_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("storage.input_manifest.TYPE_SAMPLE_ROWS", 1)
    text = '{"uri": "a.mp4"}\n{"uri": "b.mp4", "late": null}\n{"uri": "c.mp4", "late": 1}\n'
    videos, _ = read(put(tmp_path, "a.jsonl", text))
    assert [row for row, _ in refused(videos)] == ["3"]


def test_an_integer_that_a_double_cannot_hold_is_refused(tmp_path):
    text = "".join(f'{{"uri": "{i}.mp4", "n": {n}}}\n' for i, n in enumerate([0.5, 2**53, 2**53 + 1, 10**400]))
    videos, rows = read(put(tmp_path, "a.jsonl", text))
    assert [row["n"] for row in rows] == [0.5, 2.0**53, None, None]
    assert [row for row, _ in refused(videos)] == ["3", "4"]


@pytest.mark.parametrize(
    "uri", ["a\0b.mp4", "\ud800.mp4", 7, ["a.mp4"], " ", None, "file:///bad%ff.mp4", "x" * 5000, "http://[x"]
)
def test_a_uri_that_is_none_is_refused(tmp_path, uri):
    videos, _ = read(put(tmp_path, "a.jsonl", json.dumps({"uri": uri}) + '\n{"uri": "b.mp4"}\n'))
    assert [v.failure and v.failure.error_class for v in videos] == ["BadManifestRow", None]


NAMES = st.text(max_size=8) | st.sampled_from(["uri", "id", "fps", "a b", "a_b", "n"])
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(st.characters(), max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
URIS = st.just("x.mp4") | st.text(st.characters(), max_size=9)


def check(videos, rows, count):
    """Each row gives one record, with a failure or all of its values."""
    assert len(videos) == len(rows) == count
    for video in videos:
        assert video.failure is None or video.failure.error_class in ("BadManifestRow", "InvalidId")
        if video.failure:
            assert "Remedy: " in video.failure.message
            assert len(video.failure.message) < 1000
    return [video.failure is None for video in videos]


@PROPERTY
@given(st.dictionaries(NAMES, VALUES, max_size=4), URIS, st.booleans())
def test_any_json_object_lands_or_is_refused(tmp_path, values, uri, ascii_only):
    values = {"uri": uri} | values
    text = json.dumps(values, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    try:
        videos, rows = read(put(tmp_path, "a.jsonl", b'{"uri": "first.mp4"}\n' + text + b'\n{"uri": "last.mp4"}\n'))
    except SourceError as error:
        assert "Remedy: " in str(error)
        return
    landed = check(videos, rows, 3)
    assert (landed[0], landed[2]) == (True, True)
    if landed[1]:
        for name in set(values) - {"uri", "id"}:
            value, kept = values[name], videos[1].extra[column_name(name)]
            if isinstance(value, float) and not math.isfinite(value):
                assert kept is None
            elif isinstance(value, list | dict):
                assert isinstance(kept, str)
            else:
                assert (kept, type(kept)) == (value, type(value))


@PROPERTY
@given(
    st.binary(max_size=30) | st.text(max_size=30).map(str.encode) | st.text('",\n\r\\a ', max_size=30).map(str.encode)
)
def test_any_csv_line_lands_or_is_refused(tmp_path, line):
    path = put(tmp_path, "a.csv", b"uri,t\nfirst.mp4,1\n" + line + b"\nlast.mp4,2\n")
    videos, rows = read(path)
    landed = check(videos, rows, len(videos))
    assert landed[0]
    assert videos[0].extra == {"t": "1"}
    if line.count(b'"') == 0:
        assert landed[-1]
        assert videos[-1].extra == {"t": "2"}


ARROW_TYPES = st.sampled_from(
    [pa.int8(), pa.uint32(), pa.int64(), pa.uint64(), pa.float16(), pa.float32(), pa.float64(), pa.bool_(), pa.null()]
    + [pa.timestamp(unit, zone) for unit in ("s", "ms", "us", "ns") for zone in (None, "UTC", "+02:00")]
    + [pa.date32(), pa.date64(), pa.time32("ms"), pa.time64("ns"), pa.duration("us"), pa.duration("ns")]
    + [pa.string(), pa.large_string(), pa.binary(), pa.binary(4), pa.decimal128(20, 3), pa.decimal256(60, 3)]
)


@st.composite
def arrow_columns(draw):
    kind = draw(ARROW_TYPES)
    width = {pa.binary(4): 4}.get(kind)
    if pa.types.is_null(kind):
        column = pa.nulls(2)
    elif pa.types.is_binary(kind) or pa.types.is_fixed_size_binary(kind):
        size = {"min_size": width or 0, "max_size": width or 5}
        column = pa.array([draw(st.binary(**size)) for _ in range(2)], kind)
    elif pa.types.is_string(kind) or pa.types.is_large_string(kind):
        raw = pa.array(
            [draw(st.binary(max_size=5)) for _ in range(2)],
            pa.large_binary() if kind == pa.large_string() else pa.binary(),
        )
        column = pa.Array.from_buffers(kind, 2, raw.buffers())
    elif pa.types.is_decimal(kind):
        digits = draw(st.integers(-(10**20) + 1, 10**20 - 1))
        column = pa.array([Decimal(digits).scaleb(-3), None], kind)
    else:
        width = 1 if pa.types.is_boolean(kind) else kind.bit_width // 8
        data = draw(st.binary(min_size=2 * width, max_size=2 * width))
        column = pa.Array.from_buffers(kind, 2, [None, pa.py_buffer(data)])
    wrap = draw(st.sampled_from(["plain", "list", "struct", "dictionary"]))
    if wrap == "list":
        return pa.ListArray.from_arrays(pa.array([0, 1, 2], pa.int32()), column)
    if wrap == "struct":
        return pa.StructArray.from_arrays([column], ["f"])
    return column.dictionary_encode() if wrap == "dictionary" and pa.types.is_integer(kind) else column


@PROPERTY
@given(st.lists(arrow_columns(), max_size=3))
def test_any_arrow_table_lands_or_is_refused(tmp_path, columns):
    table = pa.table([pa.array(["a.mp4", "b.mp4"]), *columns], names=["uri", *(f"c{i}" for i in range(len(columns)))])
    try:
        pq.write_table(table, tmp_path / "a.parquet")
    except (pa.ArrowException, OSError):
        return  # what Parquet itself cannot hold
    check(*read(tmp_path / "a.parquet"), 2)


@pytest.mark.parametrize(
    "uri", ["webhdfs://h/x.mp4", "ftp://h/x.mp4", "memory://x.mp4", "github://o:r@main/x.mp4", "zip::s3://b/x.zip"]
)
def test_rows_reach_only_the_named_schemes(tmp_path, uri):
    manifest = tmp_path / "all.jsonl"
    manifest.write_text("".join(json.dumps({"uri": u}) + "\n" for u in (uri, "s3://bucket/x.mp4", "x.mp4")))
    spec = make_spec(str(manifest))
    bad, remote, local = list_videos(spec)
    assert bad.failure.error_class == "BadManifestRow" and "run.url_schemes" in bad.failure.message
    assert remote.failure is None and local.failure is None
    allowed = dataclasses.replace(spec, url_schemes=(uri.split(":")[0],))
    assert [v.failure is None for v in list_videos(allowed)] == [True, False, True]
