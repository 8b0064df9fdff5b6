from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest

from core.failures import ItemError
from core.serialization import from_json_text, to_json_text
from core.video_info import VideoInfo
from media.decode import VideoReader
from media.probe import probe_video
from tests.support.hostile import HostileCase

KNOWN = {
    "bbb_0_30.webm": {"codec": "vp8", "color_matrix": "bt470bg", "has_audio": True, "audio_codec": "vorbis"},
    "carphone_qcif.mp4": {"sample_aspect_ratio": Fraction(128, 117), "header_frames": 120},
    "desks_h263_vfr.3gp": {"is_variable_frame_rate": True, "sample_aspect_ratio": Fraction(12, 11)},
    "dark_concert_pcm.mov": {"audio_codec": "pcm_s16le", "average_fps": Fraction(50), "coded_height": 1080},
    "hdr10_av1_portrait.mp4": {
        "codec": "av1", "bit_depth": 10, "is_hdr": True, "color_transfer": "smpte2084", "display_height": 1280,
    },
    "hevc_editlist_rot.mp4": {
        "rotation_deg": 90, "display_width": 1080, "display_height": 1920, "coded_width": 1920,
        "color_transfer": "arib-std-b67", "is_hdr": True, "pixel_format": "yuv420p10le",
    },
    "phone_rotated_vfr.mp4": {"rotation_deg": 270, "display_width": 288, "is_variable_frame_rate": True},
    "psd_testvideo.mp4": {"average_fps": Fraction(30000, 1001), "is_variable_frame_rate": False},
    "black_no_duration_vp9.webm": {"duration_s": None, "header_frames": None, "bit_rate": None},
    "highway_cctv.avi": {"codec": "mpeg4", "is_variable_frame_rate": False, "time_base": Fraction(1, 25)},
    "nasa_13013.mp4": {"coded_width": 320, "header_frames": 325, "duration_s": Fraction(13)},
}  # fmt: skip
MADE = {
    "rotated_90": {"rotation_deg": 90, "is_mirrored": False, "display_width": 160, "display_height": 120},
    "rotated_180": {"rotation_deg": 180, "display_width": 160},
    "rotated_270": {"rotation_deg": 270, "display_width": 160},
    "mirrored": {"rotation_deg": 0, "is_mirrored": True},
    "portrait": {"display_width": 120, "display_height": 160},
    "anamorphic": {"sample_aspect_ratio": Fraction(12, 11)},
    "interlaced": {"is_interlaced": True},
    "plain": {"is_interlaced": False, "field_order": "progressive", "has_audio": False, "audio_codec": None},
    "hdr10": {"is_hdr": True, "bit_depth": 10, "color_primaries": "bt2020", "color_matrix": "bt2020nc"},
    "full_range": {"color_range": "full"},
    "high444": {"pixel_format": "yuv444p"},
    "vfr": {"is_variable_frame_rate": True},
    "vfr_matroska": {"is_variable_frame_rate": True},
    "late_start": {"start_pts": 50000, "duration_s": Fraction(4, 5), "is_variable_frame_rate": False},
    "long": {"duration_s": Fraction(7200), "header_frames": 14400, "is_variable_frame_rate": False},
    "with_audio": {"has_audio": True, "audio_codec": "aac"},
    "av1": {"codec": "av1"},
    "palette": {"codec": "gif", "average_fps": Fraction(10)},
    "odd_size": {"coded_width": 161, "coded_height": 121},
}


@pytest.mark.parametrize("name", KNOWN)
def test_real_videos(data: Path, name: str) -> None:
    info = probe_video(str(data / name))
    for field, value in KNOWN[name].items():
        assert getattr(info, field) == value, field


@pytest.mark.parametrize("name", MADE)
def test_synthetic_videos(hostile: dict[str, HostileCase], name: str) -> None:
    info = probe_video(hostile[name].path)
    for field, value in MADE[name].items():
        assert getattr(info, field) == value, field


def test_bad_files_fail_and_good_ones_agree_with_decoding(hostile: dict[str, HostileCase]) -> None:
    for name, case in hostile.items():
        if case.expected != "ok":
            with pytest.raises(ItemError) as caught:
                probe_video(case.path)
            assert caught.value.error_class == case.expected, name
            continue
        info = probe_video(case.path)
        with VideoReader(case.path) as reader:
            first = next(reader.frames())
            assert reader.time_base == info.time_base
        assert first.pts == info.start_pts, name
        assert (first.frame.width, first.frame.height) == (info.coded_width, info.coded_height)
        assert first.frame.format.name == info.pixel_format
        assert info.size_bytes == Path(case.path).stat().st_size
        assert from_json_text(VideoInfo, to_json_text(info)) == info
