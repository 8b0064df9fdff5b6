"""Downloads the videos of web pages with yt-dlp, and cuts time ranges by stream copy."""

from __future__ import annotations

import importlib.util
import os
import posixpath
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import av
from pydantic import Field

from core.failures import ItemError
from core.records import Scalar
from core.settings import OPERATIONAL, Settings
from storage.sources import VIDEO_EXTENSIONS, SourceError

RANGE_COLUMNS = ("range_start_s", "range_end_s")
LEAD_S = 0.001
"""Seek this much before the start, so that rounding does not skip a keyframe right at it."""


class DownloadSettings(Settings):
    """Videos of web pages, named by `http(s)` URLs in a manifest."""

    pages: bool = Field(
        False,
        description="Whether URLs without a video's extension are web pages whose video yt-dlp downloads (extra "
        "`download`). The optional manifest columns range_start_s and range_end_s select a time range of it.",
    )
    format: str = Field(
        "bv*[height<=1080][vcodec!=none]/b",
        description="Format selector of yt-dlp; it must select one file, since streams are not merged.",
    )
    retries: int = Field(
        10,
        ge=0,
        description="Retries after a network error; a partial download is resumed.",
        json_schema_extra=OPERATIONAL,
    )
    timeout_s: float = Field(30.0, gt=0, description="Socket timeout in seconds.", json_schema_extra=OPERATIONAL)
    max_gib: float = Field(50.0, gt=0, description="Largest file size in GiB.", json_schema_extra=OPERATIONAL)


def check_downloader(settings: DownloadSettings) -> None:
    """Checks that yt-dlp is installed if the settings need it.

    Raises:
      SourceError: if yt-dlp is not installed.
    """
    if settings.pages and importlib.util.find_spec("yt_dlp") is None:
        raise SourceError("download.pages needs the package yt-dlp: pip install 'spatialbeam[download]'")


def is_page(uri: str) -> bool:
    """Whether a URL is that of a web page and not of a video file."""
    parts = urlsplit(uri)
    return parts.scheme in ("http", "https") and posixpath.splitext(parts.path)[1].lower() not in VIDEO_EXTENSIONS


def read_range(extra: Mapping[str, Scalar]) -> tuple[float, float | None] | None:
    """Time range (start, end) in seconds of a manifest row; None for the whole video.

    Raises:
      ItemError: BadRange for values that are not numbers, or an end that is not after the start.
    """
    values = []
    for name in RANGE_COLUMNS:
        value = extra.get(name)
        try:
            values.append(None if value in (None, "") else float(value))
        except ValueError as error:
            raise ItemError("BadRange", f"column {name} holds {value!r}", "give seconds, or leave it empty.") from error
    start, end = values
    if start is None and end is None:
        return None
    start = start or 0.0
    if not (0 <= start < float("inf")) or (end is not None and not end > start):
        raise ItemError("BadRange", f"the range {start} to {end} is empty", "let it end after it starts.")
    return start, end


def download_page(url: str, folder: str, settings: DownloadSettings) -> str:
    """Downloads the video of a web page into `folder`; returns its path.

    A partial download of an earlier run is resumed.

    Raises:
      ItemError: DownloadFailed, NotOneVideo or VideoTooLarge.
    """
    import yt_dlp

    os.makedirs(folder, exist_ok=True)
    path = os.path.join(folder, "video")
    options: dict[str, Any] = {
        "format": settings.format,
        "outtmpl": {"default": path.replace("%", "%%")},
        "noplaylist": True,
        "retries": settings.retries,
        "fragment_retries": settings.retries,
        "socket_timeout": settings.timeout_s,
        "max_filesize": int(settings.max_gib * 2**30),
        "continuedl": True,
        "overwrites": False,
        "cachedir": False,
        "fixup": "never",
        "quiet": True,
        "no_warnings": True,
        "noprogress": True,
        "color": "never",
        "logger": _NullLogger(),
    }
    try:
        with yt_dlp.YoutubeDL(options) as downloader:
            info = downloader.extract_info(url, download=False)
            if info is None or info.get("_type") in ("playlist", "multi_video"):
                raise ItemError("NotOneVideo", f"{url!r} holds no video, or several", "name the page of one video.")
            downloader.process_ie_result(info, download=True)
    except yt_dlp.utils.YoutubeDLError as error:
        message = re.sub(r"^ERROR:\s*", "", " ".join(str(error).split()))[:500]
        raise ItemError("DownloadFailed", f"{url!r}: {message}", "check the page, or run again to resume.") from error
    if not os.path.exists(path):
        limit = f"its file is larger than download.max_gib={settings.max_gib:g}"
        raise ItemError("VideoTooLarge", f"{url!r}: {limit}", "raise the limit, or take another download.format.")
    return path


def copy_range(source: str, target: str, start_s: float, end_s: float | None) -> None:
    """Stream-copies a time range into a NUT file.

    It begins at the last keyframe not after the start.

    Timestamps are kept, so that times in the tables are times of the source video.

    Raises:
      ItemError: BadRange if the range has no frame, ReadFailed if the source cannot be read.
    """
    try:
        with av.open(source) as reader, av.open(target, "w", format="nut") as writer:
            stream = reader.streams.video[0]
            if stream.time_base is None:
                raise ItemError("ReadFailed", f"{source!r} has no time base", "download another format.")
            out = writer.add_stream_from_template(stream)
            reader.seek(int(max(0.0, start_s - LEAD_S) / stream.time_base), stream=stream)
            last_end_s = 0.0
            for packet in reader.demux(stream):
                if packet.dts is None or packet.pts is None:
                    continue
                if end_s is not None and float(packet.dts * stream.time_base) >= end_s:
                    break
                last_end_s = max(last_end_s, float((packet.pts + (packet.duration or 0)) * stream.time_base))
                packet.stream = out
                writer.mux(packet)
    except (av.FFmpegError, IndexError, ValueError) as error:
        raise ItemError("ReadFailed", f"{source!r}: {error}", "download another format.") from error
    if last_end_s <= start_s:
        raise ItemError("BadRange", f"the video has no frame from {start_s:g} s on", "check the range.")


class _NullLogger:
    """Discards yt-dlp's log: its errors are raised."""

    def debug(self, message: str) -> None: ...

    def info(self, message: str) -> None: ...

    def warning(self, message: str) -> None: ...

    def error(self, message: str) -> None: ...
