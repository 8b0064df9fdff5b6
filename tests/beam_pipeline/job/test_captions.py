"""The whole job with captions from a server."""

from __future__ import annotations

import json

import pytest

from tests.support.paths import ROOT

pytest.importorskip("openai", reason="needs the [captions] extra")

from beam_pipeline.cli.main import main
from explore.outputs import read_accounting, read_table
from tests.support.chat_server import chat_server, completion

VIDEO = ROOT / "examples" / "videos" / "bikes.mp4"
KEY = "sk-secret-4711"


def run(output, server, *settings):
    chosen = [
        "annotate.pose.model=none",
        "captions.model=server",
        f"captions.vision.base_url={server.url}",
        "captions.vision.name=tiny",
        "captions.vision.api_key_env=TEST_KEY",
        *settings,
    ]
    overrides = [part for setting in chosen for part in ("--set", setting)]
    arguments = ["--config", "demo", "--no-progress", "--direct_num_workers=2", "--direct_running_mode=multi_threading"]
    return main(["--input", str(VIDEO), "--output", str(output), *arguments, *overrides])


def kept(output):
    return [row for row in read_table(str(output), "clips").to_pylist() if row["status"] == "kept"]


def test_captions_come_from_the_server_once(tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("TEST_KEY", KEY)
    output = tmp_path / "out"
    with chat_server() as server:
        assert run(output, server) == 0
        rows = kept(output)
        assert len(rows) > 2
        assert {(r["caption_model"], r["scene_type"], r["weather"], r["caption_requests"]) for r in rows} == {
            ("tiny", "Waterfront", "Snowy", 3)
        }
        assert rows[0]["caption_prompts"].startswith("v1@")
        assert rows[0]["odd_tags"] == ["weather=Frosty"]
        assert len(server.seen) == 3 * len(rows)
        before = (output / "manifest.json").read_bytes()

        # Again, from another address and at another rate: nothing is asked.
        asked = len(server.seen)
        server.url = server.url.replace("127.0.0.1", "localhost")
        assert run(output, server, "captions.vision.requests_per_minute=100000") == 0
        assert len(server.seen) == asked
        assert (output / "manifest.json").read_bytes() == before
    written = capfd.readouterr()
    assert KEY not in written.out + written.err
    assert all(KEY.encode() not in path.read_bytes() for path in output.rglob("*") if path.is_file())


def test_a_budget_and_a_block_leave_clips_without_captions_and_the_job_ends_well(tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("TEST_KEY", KEY)
    output = tmp_path / "out"
    with chat_server() as server:
        server.script = [completion(None, finish="content_filter")]
        assert run(output, server, "captions.calls.max_requests=4", "captions.calls.concurrency=2") == 0
        reasons = [row["caption_reason"] for row in kept(output)]
        assert len(server.seen) == 4
        assert read_accounting(str(output)).problems() == []
        assert sum(r is not None and r.startswith("Blocked") for r in reasons) == 1
        assert any(r is not None and r.startswith("BudgetSpent") for r in reasons)
        assert "without a caption: Blocked" in capfd.readouterr().out

        # With money again only what is missing is asked for, and what was refused is not.
        assert run(output, server) == 0
        rows = kept(output)
        assert [r["caption_reason"] is None for r in rows].count(False) == 1
        assert len(server.seen) == 1 + 3 * (len(rows) - 1)
        shard = next((output / "shards").iterdir()).read_bytes()
        assert shard.count(b'"CategoryTags"') == len(rows) - 1
    facts = json.loads((output / "run.json").read_text())
    assert facts["accounting"]["balanced"]
    assert facts["models"]["CaptionClips"]["id"] == "tiny"
