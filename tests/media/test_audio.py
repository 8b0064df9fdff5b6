"""Sound of a clip stays in sync with the source, by clicks at known times."""

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np
import pytest

from media.encode import CutSettings, cut_clip
from media.probe import probe_video
from tests.support.measure import read_all, span_of

FPS, SECONDS, CLICKS_S = 25, 6, (0.5, 1.25, 2.1, 3.0, 4.4, 5.7)
KEEP = CutSettings(preset="ultrafast", audio="keep")


def write_clicks(path, codec="aac", rate=44100, layout="stereo", gap_s=None):
    """A video with a click at each of CLICKS_S, without packets in `gap_s`."""
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libx264", rate=FPS, options={"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        sound = output.add_stream(codec, rate=rate, layout=layout)
        samples = np.zeros(SECONDS * rate, np.float32)
        for click_s in CLICKS_S:
            start = round(click_s * rate)
            samples[start : start + 64] = 0.8 * np.cos(np.arange(64) * 0.7)
        packets = []
        for index in range(SECONDS * FPS):
            frame = av.VideoFrame.from_ndarray(np.full((64, 64, 3), index, np.uint8), "rgb24").reformat(
                format="yuv420p"
            )
            frame.pts, frame.time_base = index, Fraction(1, FPS)
            packets += stream.encode(frame)
        packets += stream.encode(None)
        channels = sound.codec_context.layout.nb_channels
        for start in range(0, len(samples), 1024):
            block = np.tile(samples[start : start + 1024], (channels, 1))
            kind = sound.codec_context.format.name
            if kind.startswith("s16"):
                block = (block * 32767).astype(np.int16)
            block = block if kind.endswith("p") else np.ascontiguousarray(block.T.reshape(1, -1))
            frame = av.AudioFrame.from_ndarray(block, format=kind, layout=layout)
            frame.sample_rate, frame.pts, frame.time_base = rate, start, Fraction(1, rate)
            packets += sound.encode(frame)
        packets += sound.encode(None)
        if gap_s:
            packets = [p for p in packets if p.stream is stream or not gap_s[0] <= p.pts * p.time_base < gap_s[1]]
        output.mux(sorted(packets, key=lambda p: p.dts * p.time_base))
    return str(path)


def cut(path, start, end, output, settings=KEEP):
    stamps, time_base, _ = read_all(path)
    return cut_clip(path, span_of(stamps, start, end, time_base), probe_video(path), settings, str(output))


def clicks_of(path):
    """Click times by the timestamps of the decoded sound, and its length in seconds."""
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        first_video = next(container.decode(video=0)).pts * container.streams.video[0].time_base
        container.seek(0)
        found, end = [], 0.0
        for frame in container.decode(stream):
            times = float(frame.pts * frame.time_base) + np.arange(frame.samples) / frame.sample_rate
            loud = times[np.abs(np.atleast_2d(frame.to_ndarray().reshape(-1, frame.samples))).max(axis=0) > 0.25]
            for time in loud.tolist():
                if not found or time - found[-1] > 0.1:
                    found.append(time)
            end = times[-1] + 1 / frame.sample_rate
    assert first_video == 0
    return found, end


@pytest.mark.parametrize(("start", "end"), [(0, 150), (20, 120), (33, 77), (100, 150)])
@pytest.mark.parametrize(
    ("name", "codec", "rate", "layout"),
    [
        ("a.mp4", "aac", 44100, "stereo"),
        ("a.mkv", "libopus", 48000, "stereo"),
        ("a.mkv", "pcm_s16le", 22050, "mono"),
        ("a.ts", "aac", 48000, "mono"),
    ],
)
def test_clicks_are_in_sync_after_a_cut(tmp_path, name, codec, rate, layout, start, end):
    path = write_clicks(tmp_path / name, codec, rate, layout)
    result = cut(path, start, end, tmp_path / "clip.mp4")
    assert result.has_audio and result.num_frames == end - start
    found, length_s = clicks_of(tmp_path / "clip.mp4")
    wanted = [t - start / FPS for t in CLICKS_S if start / FPS + 0.02 < t < end / FPS - 0.02]
    assert len(found) == len(wanted) and np.abs(np.subtract(found, wanted)).max() < 0.01
    assert abs(length_s - float(result.duration_s)) < 0.05


def test_sound_behind_a_gap_keeps_its_time(tmp_path):
    path = write_clicks(tmp_path / "a.mkv", "pcm_s16le", 48000, gap_s=(1.5, 2.5))
    cut(path, 5, 150, tmp_path / "clip.mp4")
    found, _ = clicks_of(tmp_path / "clip.mp4")
    assert np.allclose(found, [t - 0.2 for t in CLICKS_S if t != 2.1], atol=0.01)


def test_two_cuts_give_the_same_bytes(tmp_path):
    path = write_clicks(tmp_path / "a.mp4")
    assert len({cut(path, 10, 90, tmp_path / f"{i}.mp4").digest for i in range(2)}) == 1


def test_sound_is_dropped_by_default_and_not_made_up(tmp_path):
    path = write_clicks(tmp_path / "a.mp4")
    assert not cut(path, 0, 20, tmp_path / "b.mp4", CutSettings(preset="ultrafast")).has_audio
    stamps, time_base, _ = read_all(path)
    span, info = span_of(stamps, 0, 20, time_base), probe_video(path)
    # Repaired timestamps do not tell which sound belongs to a frame.
    assert not cut_clip(path, span, info, KEEP, str(tmp_path / "c.mp4"), use_index=False).has_audio
    assert not cut(str(tmp_path / "b.mp4"), 0, 20, tmp_path / "d.mp4").has_audio
