"""Videos behind web pages: fetched by yt-dlp, cut to a stretch of time without encoding anew."""

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
"""Cut this much before the start, so that the key frame at it is found whatever it was rounded to."""


class DownloadSettings(Settings):
    """Videos behind web pages, named by `http(s)` addresses in a manifest."""

    pages: bool = Field(
        False,
        description="Whether addresses without a video's extension are pages whose video yt-dlp downloads (extra "
        "`download`). Manifest columns range_start_s and range_end_s, both optional, take a stretch of it.",
    )
    format: str = Field(
        "bv*[height<=1080][vcodec!=none]/b",
        description="Which of a page's files is taken, in yt-dlp's language; one file, since nothing is joined.",
    )
    retries: int = Field(
        10,
        ge=0,
        description="Tries after a fault of the network; a broken download goes on.",
        json_schema_extra=OPERATIONAL,
    )
    timeout_s: float = Field(
        30.0, gt=0, description="Longest silence of a server, seconds.", json_schema_extra=OPERATIONAL
    )
    max_gib: float = Field(50.0, gt=0, description="Largest file, GiB.", json_schema_extra=OPERATIONAL)


def check_downloader(settings: DownloadSettings) -> None:
    """Checks that pages can be downloaded, where that is wanted.

    Raises:
      SourceError: if yt-dlp is not installed.
    """
    if settings.pages and importlib.util.find_spec("yt_dlp") is None:
        raise SourceError("download.pages needs the package yt-dlp: pip install 'spatialbeam[download]'")


def is_page(uri: str) -> bool:
    """Whether an address is that of a page and not of a video file."""
    parts = urlsplit(uri)
    return parts.scheme in ("http", "https") and posixpath.splitext(parts.path)[1].lower() not in VIDEO_EXTENSIONS


def read_range(extra: Mapping[str, Scalar]) -> tuple[float, float | None] | None:
    """The stretch of time that a manifest row asks for; None for the whole video.

    Raises:
      ItemError: BadRange for values that are no times, or an end that is not after the start.
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
    """Downloads a page's video into a folder of its own; returns the file's path.

    What a run before has left there is gone on with.

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
        "logger": _Silence(),
    }
    try:
        with yt_dlp.YoutubeDL(options) as downloader:
            info = downloader.extract_info(url, download=False)
            if info is None or info.get("_type") in ("playlist", "multi_video"):
                raise ItemError("NotOneVideo", f"{url!r} holds no video, or several", "name the page of one video.")
            downloader.process_ie_result(info, download=True)
    except yt_dlp.utils.YoutubeDLError as error:
        said = re.sub(r"^ERROR:\s*", "", " ".join(str(error).split()))[:500]
        raise ItemError("DownloadFailed", f"{url!r}: {said}", "check the page, or run again to go on.") from error
    if not os.path.exists(path):
        limit = f"its file is larger than download.max_gib={settings.max_gib:g}"
        raise ItemError("VideoTooLarge", f"{url!r}: {limit}", "raise the limit, or take another download.format.")
    return path


def copy_range(source: str, target: str, start_s: float, end_s: float | None) -> None:
    """Copies the packets of a stretch of time, from the key frame at or before its start, into a NUT file.

    Timestamps stay those of the source, so that times in the tables are times of the page's video.

    Raises:
      ItemError: BadRange if no frame lies in it, ReadFailed if the source cannot be read.
    """
    try:
        with av.open(source) as reader, av.open(target, "w", format="nut") as writer:
            stream = reader.streams.video[0]
            if stream.time_base is None:
                raise ItemError("ReadFailed", f"{source!r} has no time base", "download another format.")
            out = writer.add_stream_from_template(stream)
            reader.seek(int(max(0.0, start_s - LEAD_S) / stream.time_base), stream=stream)
            ends_s = 0.0
            for packet in reader.demux(stream):
                if packet.dts is None or packet.pts is None:
                    continue
                if end_s is not None and float(packet.dts * stream.time_base) >= end_s:
                    break
                ends_s = max(ends_s, float((packet.pts + (packet.duration or 0)) * stream.time_base))
                packet.stream = out
                writer.mux(packet)
    except (av.FFmpegError, IndexError, ValueError) as error:
        raise ItemError("ReadFailed", f"{source!r}: {error}", "download another format.") from error
    if ends_s <= start_s:
        raise ItemError("BadRange", f"the video has no frame from {start_s:g} s on", "check the range.")


class _Silence:
    """yt-dlp's messages are in its errors; its log is not ours."""

    def debug(self, message: str) -> None: ...

    def info(self, message: str) -> None: ...

    def warning(self, message: str) -> None: ...

    def error(self, message: str) -> None: ...
