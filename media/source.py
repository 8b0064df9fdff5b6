"""Opening video files by URI, safely: only self-contained formats, and every failure says what was seen."""

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

# Formats that hold their own frames. Playlists, session descriptions, image patterns and devices are
# left out, since they make FFmpeg open other files or hosts that the input names.
_VIDEO_FORMATS = (
    "3dostr,4xm,amv,anm,apng,apv,asf,avi,avs2,avs3,av1,bfi,bink,cavsvideo,cdxl,dirac,dnxhd,dsicin,dv,dxa,ea,"
    "evc,film_cpk,flic,flv,gdv,gif,gxf,h261,h263,h264,hevc,idcin,ifv,ipmovie,ipu,ivf,jv,kux,live_flv,lmlm4,"
    "lvf,lxf,m4v,matroska,mgsts,mjpeg,mjpeg_2000,mlv,mm,moflex,mov,mpeg,mpegts,mpegtsraw,mpegvideo,msnwctcp,"
    "mtv,mv,mvi,mxf,mxg,nsv,nut,nuv,obu,ogg,paf,pmp,pva,r3d,rm,roq,rpl,ser,smjpeg,smk,smush,swf,thp,"
    "tiertexseq,tmv,ty,usm,vc1,vc1test,vividas,vivo,vmd,vvc,wc3movie,webm,wsvqa,wtv,xmv,yop,yuv4mpegpipe"
)
# Known so that a sound file is called one.
_AUDIO_FORMATS = "aac,ac3,aiff,amr,ape,au,caf,dsf,dts,eac3,flac,mp3,mpc,mpc8,oma,opus,tak,tta,w64,wav,wv"
_OPEN_OPTIONS = {
    "format_whitelist": f"{_VIDEO_FORMATS},{_AUDIO_FORMATS}",
    "protocol_whitelist": "file,crypto,data",
}
_REMOTE_BUFFER_BYTES = 1 << 20
# A remote video is read in blocks of this size, each once, while the block behind it is on its way already.
REMOTE_BLOCK_BYTES = 4 << 20
_REMOTE_BLOCKS_HELD = 6
# What different file systems call the thing that changes when a file's content does.
_IDENTITY_KEYS = (
    "etag", "generation", "md5hash", "crc32c", "content_md5", "contentmd5", "versionid", "version_id",
    "lastmodified", "last_modified", "updated", "mtime", "modified", "created",
)  # fmt: skip


GPU_FORMAT = "yuv420p"
"""What is decoded on a GPU: other formats would not come back as they are."""


@contextmanager
def open_container(uri: str, hardware: bool = False) -> Iterator[InputContainer]:
    """Opens a video file for reading.

    Args:
      uri: local path or `file://` path (taken literally: no percent decoding), or any fsspec URI.
      hardware: whether to decode on a GPU, where there is one and its decoder takes the video.

    Raises:
      ItemError: FileNotFound, PermissionDenied, EmptyFile, NotAVideo, MissingIndex, BrokenHeader or
        ReadFailed.
    """
    uri = normalize_uri(uri)
    with _opened(uri) as source:
        try:
            container = (_open_on_gpu(source) if hardware else None) or _open_plainly(source)
        except OSError as error:
            raise explain_os_error(uri, error) from error
        except av.FFmpegError as error:
            raise _explain_open_error(uri, error) from error
        except Exception as error:  # each remote file system has its own exceptions
            raise read_failed(uri, error) from error
        # FFmpeg's guesses for missing timestamps are wrong for B-frames: `media.timeline` does better.
        container.flags &= ~int(Flags.gen_pts.value)  # type: ignore[call-overload]
        try:
            yield container
        finally:
            container.close()


def _open_plainly(source: Any, hwaccel: HWAccel | None = None) -> InputContainer:
    return av.open(
        source,
        mode="r",
        container_options=_OPEN_OPTIONS,
        metadata_errors="ignore",
        buffer_size=_REMOTE_BUFFER_BYTES,
        hwaccel=hwaccel,
    )


def _open_on_gpu(source: Any) -> InputContainer | None:
    """The container with decoders on a GPU; none if that cannot be."""
    try:
        return _open_plainly(source, HWAccel("cuda", allow_software_fallback=True))
    except Exception as error:  # what is wrong with the file itself is found by the next opening
        _say_once(f"videos are decoded in software, not on a GPU: {error}")
    if not isinstance(source, str):
        source.seek(0)
    return None


@cache
def _say_once(message: str) -> None:
    logger.warning(message)


def choose_video_stream(container: InputContainer, uri: str) -> VideoStream:
    """The video stream to work on: the first that is no cover art, a default one before others.

    The other streams are not read then.

    Raises:
      ItemError: NoVideoStream, CoverArtOnly or UnsupportedCodec.
    """
    videos = container.streams.video
    moving = [s for s in videos if not s.disposition & (Disposition.attached_pic | Disposition.timed_thumbnails)]
    if not moving:
        seen = ", ".join(f"{s.type} ({_codec_name(s)})" for s in container.streams) or "none"
        if videos:
            raise ItemError(
                "CoverArtOnly",
                f"{uri!r} has no video but a cover picture; its streams: {seen}",
                "remove it from the input, or name the video that belongs to this sound file.",
            )
        raise ItemError(
            "NoVideoStream",
            f"{uri!r} ({container.format.name}) has no video stream; its streams: {seen}",
            "remove it from the input.",
        )
    stream = next((s for s in moving if s.disposition & Disposition.default), moving[0])
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
    """Identity of a file's content without reading it: size and modification time, or etag and the like.

    Equal for equal files at one place; changes when the file is replaced. A file system that tells no
    more than the size gives a weak one.

    Raises:
      ItemError: FileNotFound, PermissionDenied or ReadFailed.
    """
    uri = normalize_uri(uri)
    fs, path = _place(uri)
    try:
        if is_local(fs):
            status = os.stat(path)
            return digest_value({"size": status.st_size, "mtime_ns": status.st_mtime_ns})
        info = fs.info(path)
    except OSError as error:
        raise explain_os_error(uri, error) from error
    known = {k.lower(): str(v) for k, v in info.items() if k.lower() in _IDENTITY_KEYS and v is not None}
    return digest_value({"size": info.get("size"), **known})


@contextmanager
def _opened(uri: str) -> Iterator[str | BinaryIO]:
    """What PyAV is given: a `file:` name for local paths, so that no name can look like a protocol."""
    fs, path = _place(uri)
    if is_local(fs):
        _check_regular_file(uri, path)
        yield "file:" + path
        return
    with open_for_reading(uri) as file:
        yield file


@contextmanager
def open_for_reading(uri: str) -> Iterator[Any]:
    """A file as a binary stream, read in large blocks where it is remote.

    Raises:
      ItemError: UnsupportedProtocol, FileNotFound, PermissionDenied or ReadFailed.
    """
    fs, path = _place(uri)
    try:
        file = fs.open(
            path,
            "rb",
            block_size=REMOTE_BLOCK_BYTES,
            cache_type="background",
            cache_options={"maxblocks": _REMOTE_BLOCKS_HELD},
        )
    except OSError as error:
        raise explain_os_error(uri, error) from error
    except Exception as error:  # each remote file system has its own exceptions
        raise read_failed(uri, error) from error
    with file:
        yield file


def _place(uri: str) -> tuple[Any, str]:
    try:
        return open_uri(uri)
    except UriError as error:
        raise ItemError("UnsupportedProtocol", str(error)) from error


def _check_regular_file(uri: str, path: str) -> None:
    try:
        status = os.stat(path)
    except OSError as error:
        raise explain_os_error(uri, error) from error
    except ValueError as error:
        raise ItemError("FileNotFound", f"{uri!r} is no file name ({error})", "check the manifest.") from error
    if stat.S_ISDIR(status.st_mode):
        raise ItemError("NotAVideo", f"{uri!r} is a folder", "name the files in it, or give the folder as input.")
    if not stat.S_ISREG(status.st_mode):
        raise ItemError("NotAVideo", f"{uri!r} is no regular file but a device, pipe or socket", "remove it.")
    if status.st_size == 0:
        raise _empty_file(uri)


def _empty_file(uri: str) -> ItemError:
    return ItemError("EmptyFile", f"{uri!r} has 0 bytes", "fetch it again: the copy never finished.")


def _explain_open_error(uri: str, error: Exception) -> ItemError:
    with open_for_reading(uri) as file:
        return diagnose_unreadable(uri, file, error) if file.read(1) else _empty_file(uri)


def explain_os_error(uri: str, error: OSError) -> ItemError:
    """The failure that an operating system error on a file means."""
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
        return _explain_open_error(uri, error)
    return read_failed(uri, error)


def read_failed(uri: str, error: Exception) -> ItemError:
    """The failure of a file whose disk or network does not deliver."""
    return TransientError(
        "ReadFailed",
        f"{uri!r} cannot be read: {type(error).__name__}: {error}",
        "check disk, network and credentials, then replay the failures.",
    )


def _codec_name(stream: Any) -> str:
    return stream.codec_context.codec.canonical_name if stream.codec_context is not None else "unknown codec"
