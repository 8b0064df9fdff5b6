"""The whole job on videos behind web pages."""

from __future__ import annotations

import csv

import pytest

from tests.support.paths import EXAMPLES

pytest.importorskip("yt_dlp", reason="needs the [download] extra")

from beam_pipeline.cli.main import main
from explore.outputs import read_accounting, read_table
from tests.support.page_server import page_server

VIDEO = EXAMPLES / "bikes.mp4"
FAST = ["annotate.pose.model=none", "text.model=none", "download.pages=true", "download.retries=0"]


def run(manifest, output):
    overrides = [part for setting in FAST for part in ("--set", setting)]
    arguments = ["--config", "demo", "--no-progress", "--direct_num_workers=1", *overrides]
    assert main(["--input", str(manifest), "--output", str(output), *arguments]) == 0
    assert read_accounting(str(output)).problems() == []
    return {name: read_table(str(output), name).to_pylist() for name in ("videos", "clips", "failures")}


def write_manifest(path, rows):
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, ["id", "uri", "range_start_s", "range_end_s", "note"])
        writer.writeheader()
        writer.writerows(rows)


def test_pages_become_rows_like_files(tmp_path):
    manifest, output = tmp_path / "pages.csv", tmp_path / "out"
    with page_server() as server:
        server.files["/watch?v=1"] = ("video/mp4", VIDEO.read_bytes())
        page = f"{server.url}/watch?v=1"
        rows = [
            {"id": "part", "uri": page, "range_start_s": 5, "range_end_s": 9.5},
            {"id": "gone", "uri": f"{server.url}/gone"},
            {"id": "bad", "uri": page, "range_start_s": "soon"},
        ]
        write_manifest(manifest, rows)
        tables = run(manifest, output)
        videos = {row["video_id"]: row for row in tables["videos"]}
        assert {name: row["status"] for name, row in videos.items()} == {
            "part": "done",
            "gone": "failed",
            "bad": "failed",
        }
        assert videos["part"]["source_uri"] == page
        assert {(r["key"], r["error_class"]) for r in tables["failures"]} == {
            ("gone", "DownloadFailed"),
            ("bad", "BadRange"),
        }
        # Times are those of the page's video.
        assert all(row["start_s"] > 3 and row["end_s"] < 10 for row in tables["clips"])
        assert any(row["status"] == "kept" for row in tables["clips"])
        before = (output / "manifest.json").read_bytes()
        fetched = len(server.offsets)

        # Again, with another note in the manifest: what is there is not fetched anew.
        write_manifest(manifest, [{**row, "note": ""} for row in rows])
        run(manifest, output)
        assert len(server.offsets) == fetched
        assert (output / "manifest.json").read_bytes() == before
    assert not list((output / "store" / "FetchVideo").rglob("part/*partial"))
