"""Opens video files by URI: self-contained formats only, with failures that name their cause."""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, BinaryIO

import av
from av.codec.hwaccel import HWAccel
from av.container import InputContainer
from av.container.core import Flags
from av.stream import Discard, Disposition
from av.video.stream import VideoStream

from core.digest import digest_value
from core.failures import ItemError, TransientError
from media.diagnose import diagnose_unreadable
from storage.uris import UriError, is_local, normalize_uri, open_uri

logger = logging.getLogger(__name__)

# Self-contained formats. Playlists, session descriptions, image sequences and devices are not allowed: they make FFmpeg
# open other files or hosts that the input names.
_VIDEO_FORMATS = (
    "3dostr,4xm,amv,anm,apng,apv,asf,avi,avs2,avs3,av1,bfi,bink,cavsvideo,cdxl,dirac,dnxhd,dsicin,dv,dxa,ea,"
    "evc,film_cpk,flic,flv,gdv,gif,gxf,h261,h263,h264,hevc,idcin,ifv,ipmovie,ipu,ivf,jv,kux,live_flv,lmlm4,"
    "lvf,lxf,m4v,matroska,mgsts,mjpeg,mjpeg_2000,mlv,mm,moflex,mov,mpeg,mpegts,mpegtsraw,mpegvideo,msnwctcp,"
    "mtv,mv,mvi,mxf,mxg,nsv,nut,nuv,obu,ogg,paf,pmp,pva,r3d,rm,roq,rpl,ser,smjpeg,smk,smush,swf,thp,"
    "tiertexseq,tmv,ty,usm,vc1,vc1test,vividas,vivo,vmd,vvc,wc3movie,webm,wsvqa,wtv,xmv,yop,yuv4mpegpipe"
)
# Accepted so that an audio file is reported as one.
_AUDIO_FORMATS = "aac,ac3,aiff,amr,ape,au,caf,dsf,dts,eac3,flac,mp3,mpc,mpc8,oma,opus,tak,tta,w64,wav,wv"
_OPEN_OPTIONS = {
    "format_whitelist": f"{_VIDEO_FORMATS},{_AUDIO_FORMATS}",
    "protocol_whitelist": "file,crypto,data",
}
_REMOTE_BUFFER_BYTES = 1 << 20
# Remote videos are read in blocks of this size, each once; the next block is prefetched.
REMOTE_BLOCK_BYTES = 4 << 20
_REMOTE_BLOCKS_HELD = 6
# Fields of fsspec's `info` that change when the content of a file changes.
_IDENTITY_KEYS = (
    "etag", "generation", "md5hash", "crc32c", "content_md5", "contentmd5", "versionid", "version_id",
    "lastmodified", "last_modified", "updated", "mtime", "modified", "created",
)  # fmt: skip


GPU_FORMAT = "yuv420p"
"""The only pixel format that is decoded on a GPU; the decoder would convert others."""


@contextmanager
def open_container(uri: str, hardware: bool = False) -> Iterator[InputContainer]:
    """Opens a video file as a PyAV input container.

    Args:
      uri: local path (taken literally), `file://` URI (percent-decoded), or any fsspec URI.
      hardware: whether to decode with NVDEC, where a GPU is present and supports the codec.

    Raises:
      ItemError: FileNotFound, PermissionDenied, EmptyFile, NotAVideo, MissingIndex, BrokenHeader or
        ReadFailed.
    """
    uri = normalize_uri(uri)
    with _pyav_source(uri) as source:
        try:
            container = (_open_on_gpu(source) if hardware else None) or _open_av(source)
        except OSError as error:
            raise os_error_failure(uri, error) from error
        except av.FFmpegError as error:
            raise _open_failure(uri, error) from error
        except Exception as error:  # each remote file system has its own exceptions
            raise read_failure(uri, error) from error
        # FFmpeg guesses missing timestamps wrongly for B-frames; `media.timeline` repairs them.
        container.flags &= ~int(Flags.gen_pts.value)  # type: ignore[call-overload]
        try:
            yield container
        finally:
            container.close()


def _open_av(source: Any, hwaccel: HWAccel | None = None) -> InputContainer:
    return av.open(
        source,
        mode="r",
        container_options=_OPEN_OPTIONS,
        metadata_errors="ignore",
        buffer_size=_REMOTE_BUFFER_BYTES,
        hwaccel=hwaccel,
    )


def _open_on_gpu(source: Any) -> InputContainer | None:
    """The container with NVDEC decoders, or None if they are not available."""
    try:
        return _open_av(source, HWAccel("cuda", allow_software_fallback=True))
    except Exception as error:  # errors of the file itself are raised by the software open that follows
        _warn_once(f"videos are decoded in software, not on a GPU: {error}")
    if not isinstance(source, str):
        source.seek(0)
    return None


@cache
def _warn_once(message: str) -> None:
    logger.warning(message)


def choose_video_stream(container: InputContainer, uri: str) -> VideoStream:
    """The video stream to decode: a default stream, else the first; never cover art.

    All other streams of the container are discarded.

    Raises:
      ItemError: NoVideoStream, CoverArtOnly or UnsupportedCodec.
    """
    videos = container.streams.video
    candidates = [s for s in videos if not s.disposition & (Disposition.attached_pic | Disposition.timed_thumbnails)]
    if not candidates:
        streams = ", ".join(f"{s.type} ({_codec_name(s)})" for s in container.streams) or "none"
        if videos:
            raise ItemError(
                "CoverArtOnly",
                f"{uri!r} has cover art only, no video; its streams: {streams}",
                "remove it from the input, or name the video that belongs to this audio file.",
            )
        raise ItemError(
            "NoVideoStream",
            f"{uri!r} ({container.format.name}) has no video stream; its streams: {streams}",
            "remove it from the input.",
        )
    stream = next((s for s in candidates if s.disposition & Disposition.default), candidates[0])
    if stream.codec_context is None:
        raise ItemError(
            "UnsupportedCodec",
            f"{uri!r} ({container.format.name}) has a video stream that this FFmpeg has no decoder for",
            "convert it to a common codec such as H.264.",
        )
    for other in container.streams:
        if other.index != stream.index:
            other.discard = Discard.all
    return stream


def fingerprint(uri: str) -> str:
    """Digest of a file's metadata: size and modification time, or ETag and the like.

    The content is not read. The digest changes when the file is replaced; it is weak where a file system reports the
    size only.

    Raises:
      ItemError: FileNotFound, PermissionDenied or ReadFailed.
    """
    uri = normalize_uri(uri)
    fs, path = _resolve(uri)
    try:
        if is_local(fs):
            status = os.stat(path)
            return digest_value({"size": status.st_size, "mtime_ns": status.st_mtime_ns})
        info = fs.info(path)
    except OSError as error:
        raise os_error_failure(uri, error) from error
    known = {k.lower(): str(v) for k, v in info.items() if k.lower() in _IDENTITY_KEYS and v is not None}
    return digest_value({"size": info.get("size"), **known})


@contextmanager
def _pyav_source(uri: str) -> Iterator[str | BinaryIO]:
    """Source for `av.open`, local paths as `file:` URLs."""
    fs, path = _resolve(uri)
    if is_local(fs):
        _check_regular_file(uri, path)
        yield "file:" + path
        return
    with open_for_reading(uri) as file:
        yield file


@contextmanager
def open_for_reading(uri: str) -> Iterator[Any]:
    """Opens a file as a binary stream; remote files are read in large blocks.

    Raises:
      ItemError: UnsupportedProtocol, FileNotFound, PermissionDenied or ReadFailed.
    """
    uri = normalize_uri(uri)
    fs, path = _resolve(uri)
    try:
        file = fs.open(
            path,
            "rb",
            block_size=REMOTE_BLOCK_BYTES,
            cache_type="background",
            cache_options={"maxblocks": _REMOTE_BLOCKS_HELD},
        )
    except OSError as error:
        raise os_error_failure(uri, error) from error
    except Exception as error:  # each remote file system has its own exceptions
        raise read_failure(uri, error) from error
    with file:
        yield file


def _resolve(uri: str) -> tuple[Any, str]:
    try:
        return open_uri(uri)
    except UriError as error:
        raise ItemError("UnsupportedProtocol", str(error)) from error


def _check_regular_file(uri: str, path: str) -> None:
    try:
        status = os.stat(path)
    except OSError as error:
        raise os_error_failure(uri, error) from error
    except ValueError as error:
        raise ItemError("FileNotFound", f"{uri!r} is not a valid file name ({error})", "check the manifest.") from error
    if stat.S_ISDIR(status.st_mode):
        raise ItemError("NotAVideo", f"{uri!r} is a folder", "name the files in it, or give the folder as input.")
    if not stat.S_ISREG(status.st_mode):
        raise ItemError("NotAVideo", f"{uri!r} is not a regular file but a device, pipe or socket", "remove it.")
    if status.st_size == 0:
        raise _empty_file_failure(uri)


def _empty_file_failure(uri: str) -> ItemError:
    return ItemError("EmptyFile", f"{uri!r} has 0 bytes", "fetch it again: the copy never finished.")


def _open_failure(uri: str, error: Exception) -> ItemError:
    with open_for_reading(uri) as file:
        return diagnose_unreadable(uri, file, error) if file.read(1) else _empty_file_failure(uri)


def os_error_failure(uri: str, error: OSError) -> ItemError:
    """The failure for an operating system error on a file."""
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return ItemError("FileNotFound", f"{uri!r} does not exist", "check the path or the manifest.")
    if isinstance(error, PermissionError):
        return ItemError(
            "PermissionDenied",
            f"{uri!r} may not be read ({error.strerror or error})",
            "grant the job's user read access.",
        )
    if isinstance(error, av.FFmpegError):
        # FFmpeg reports a file that ends inside its header as an input/output error.
        return _open_failure(uri, error)
    return read_failure(uri, error)


def read_failure(uri: str, error: Exception) -> ItemError:
    """The transient failure for a disk or network error while a file is read."""
    return TransientError(
        "ReadFailed",
        f"{uri!r} cannot be read: {type(error).__name__}: {error}",
        "check disk, network and credentials, then replay the failures.",
    )


def _codec_name(stream: Any) -> str:
    return stream.codec_context.codec.canonical_name if stream.codec_context is not None else "unknown codec"
