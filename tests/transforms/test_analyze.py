from __future__ import annotations

import dataclasses

from models.video_analysis import AnalysisSettings
from storage.store import Store
from tests.support.clips import advance, analyzed_video, listed_video
from tests.support.eager import eager
from transforms.analyze import AnalyzeVideo, FanOutClips, clips_of, read_analysis
from transforms.ingest import ProbeSettings, ProbeVideo
from transforms.run_context import RunContext
from transforms.splitting import RunSplitStage


def test_clips_fan_out_of_their_videos(tmp_path):
    store = Store(str(tmp_path))
    good, bad = analyzed_video(store), dataclasses.replace(listed_video(), video_id="failed")
    clips = [good, bad] | eager(FanOutClips(RunContext(str(tmp_path))))
    assert [(clip.video_id, clip.is_whole_video) for clip in clips] == [(good.video_id, True)]
    assert clips[0].span.num_frames == read_analysis(good, store).num_frames


def test_a_clip_that_ends_inside_the_last_frame_is_not_the_whole_video(tmp_path):
    store = Store(str(tmp_path))
    video = analyzed_video(store)
    analysis = read_analysis(video, store)
    (candidate,) = analysis.clips
    shorter = dataclasses.replace(candidate.span, end_pts=candidate.span.end_pts - 1)
    analysis = dataclasses.replace(analysis, clips=(dataclasses.replace(candidate, span=shorter),))
    assert [clip.is_whole_video for clip in clips_of(video, analysis)] == [False]


def test_a_video_in_windows_is_analyzed_as_in_one_piece(tmp_path):
    context = RunContext(str(tmp_path / "split"))
    context.make_store()
    whole_store = Store(str(tmp_path / "whole"))
    settings = AnalysisSettings.model_validate({"clips": {"min_s": 1.0}})
    video = advance(listed_video(), ProbeVideo(ProbeSettings()), whole_store)
    whole = advance(video, AnalyzeVideo(settings), whole_store)
    (split,) = [video] | eager(RunSplitStage(AnalyzeVideo(settings, window_s=1.5), context))
    assert split.analysis.digest == whole.analysis.digest
    windows = context.open_store().full_path("MeasureWindow")
    assert len(context.open_store().fs.ls(windows)) > 0
