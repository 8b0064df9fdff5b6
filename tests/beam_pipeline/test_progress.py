from __future__ import annotations

import io
import logging

from rich.console import Console

from beam_pipeline.config import load_config
from beam_pipeline.graph import make_stages
from beam_pipeline.progress import ProgressDisplay
from core.progress import ProgressLog


def test_the_display_shows_the_funnel_and_every_stage(tmp_path):
    log = ProgressLog(str(tmp_path))
    for stage, what, count in [
        ("videos", "expected", 4),
        ("videos", "done", 2),
        ("videos", "failed", 1),
        ("clips", "kept", 5),
        ("AnalyzeVideo", "done", 2),
        ("AnalyzeVideo", "frames", 600),
    ]:
        log.add(stage, what, count)
    console = Console(file=io.StringIO(), width=160)
    display = ProgressDisplay(str(tmp_path), make_stages(load_config()), console)
    console.print(display.table())
    shown = console.file.getvalue()
    assert "videos 3/4 (1 failed)" in shown
    assert "5 kept" in shown
    assert all(name in shown for name in ("ProbeVideo", "AnalyzeVideo", "ScoreText", "CutClips"))
    assert "600 frames analyzed" in display.line()


def test_off_a_terminal_there_are_log_lines(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr("beam_pipeline.progress.REFRESH_S", 0.01)
    monkeypatch.setattr("beam_pipeline.progress.LOG_EVERY_S", 0.0)
    caplog.set_level(logging.INFO)
    log = ProgressLog(str(tmp_path))
    log.add("videos", "expected", 7)
    import time

    with ProgressDisplay(str(tmp_path), make_stages(load_config()), Console(file=io.StringIO())):
        time.sleep(0.1)
    assert any("videos 0/7" in message for message in caplog.messages)
