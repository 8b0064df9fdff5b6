"""Diagnoses files that FFmpeg cannot open, from their magic bytes and MP4 boxes."""

from __future__ import annotations

from typing import BinaryIO

from core.failures import ItemError

_HEAD_BYTES = 4096
_MAX_BOXES = 1000
_CONTAINER_MAGIC = (
    (0, b"\x1a\x45\xdf\xa3", "Matroska or WebM"),
    (0, b"FLV", "FLV"),
    (0, b"OggS", "Ogg"),
    (8, b"AVI ", "AVI"),
    (0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "ASF or WMV"),
    (0, b"\x00\x00\x01\xba", "MPEG program stream"),
)
_MP4_BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot")
_OTHER_MAGIC = (
    (0, b"\x89PNG", "a PNG image"),
    (0, b"\xff\xd8\xff", "a JPEG image"),
    (8, b"WEBP", "a WebP image"),
    (0, b"II*\x00", "a TIFF image"),
    (0, b"MM\x00*", "a TIFF image"),
    (0, b"BM", "a BMP image"),
    (0, b"%PDF", "a PDF document"),
    (0, b"PK\x03\x04", "a ZIP archive"),
    (0, b"\x1f\x8b", "gzip data"),
    (0, b"\x7fELF", "an executable"),
    (0, b"PAR1", "a Parquet table"),
)
_TEXT_STARTS = (
    (b"#extm3u", "a playlist: it refers to other files instead of holding a video"),
    (b"ffconcat", "an FFmpeg concat list: it refers to other files instead of holding a video"),
    (b"<!doctype html", "a web page, perhaps the error page of a download"),
    (b"<html", "a web page, perhaps the error page of a download"),
    (b"<?xml", "an XML file"),
    (b"{", "a JSON file"),
)


def diagnose_unreadable(uri: str, file: BinaryIO, error: Exception) -> ItemError:
    """The failure of an unreadable video: NotAVideo, MissingIndex or BrokenHeader.

    Args:
      uri: name for the message.
      file: the file, seekable, not empty.
      error: FFmpeg's error.
    """
    size_bytes = file.seek(0, 2)
    file.seek(0)
    head = file.read(_HEAD_BYTES)
    if head.startswith(b"version https://git-lfs.github.com/spec"):
        return ItemError(
            "NotAVideo",
            f"{uri!r} is a Git LFS pointer of {size_bytes} bytes, not the video itself",
            "fetch the real file with `git lfs pull`.",
        )
    if head[4:8] in _MP4_BOXES:
        return _diagnose_mp4(uri, file, size_bytes, error)
    for offset, magic, name in _CONTAINER_MAGIC:
        if head[offset:].startswith(magic):
            return ItemError(
                "BrokenHeader",
                f"{uri!r} starts as {name}, but its header cannot be read from its {size_bytes} bytes "
                f"({_reason(error)})",
                "fetch it again: the file is cut off or damaged.",
            )
    return ItemError("NotAVideo", f"{uri!r} is {_describe(head)} ({size_bytes} bytes)", "remove it from the input.")


def is_encrypted(head: bytes) -> bool:
    """Whether a Matroska file or MPEG transport stream is encrypted, by its first bytes.

    Matroska: a ContentEncoding of type 1 (RFC 9559 section 5.1.4.1.31); transport stream: most packets of one PID
    have scrambling bits (ISO/IEC 13818-1 section 2.4.3.2).
    """
    if head.startswith(b"\x1a\x45\xdf\xa3"):
        start = head.find(b"\x6d\x80")
        return start >= 0 and b"\x50\x33\x81\x01" in head[start : start + 256]
    packets = [head[k : k + 4] for k in range(0, len(head) - 188, 188)]
    if not packets or any(packet[0] != 0x47 for packet in packets):
        return False
    return sum(packet[3] >= 0x80 for packet in packets) > len(packets) / 2


def _diagnose_mp4(uri: str, file: BinaryIO, size_bytes: int, error: Exception) -> ItemError:
    """Failure of an MP4: walks the top-level boxes (ISO/IEC 14496-12 section 4.2) to find `moov`."""
    position, boxes, overrun = 0, list[str](), ""
    while position + 8 <= size_bytes and len(boxes) < _MAX_BOXES:
        file.seek(position)
        header = file.read(16)
        length, name = int.from_bytes(header[:4], "big"), header[4:8].decode("ascii", "replace")
        if length == 1:
            length = int.from_bytes(header[8:16], "big")
        elif length == 0:
            length = size_bytes - position
        boxes.append(name)
        if length < 8:
            break
        position += length
        if position > size_bytes:
            overrun = f"; box {name!r} should end at byte {position}, the file ends at {size_bytes}"
    if "moov" in boxes and not (boxes[-1] == "moov" and overrun):
        return ItemError(
            "BrokenHeader",
            f"{uri!r} is an MP4 or MOV whose index cannot be read ({_reason(error)})",
            "fetch or convert it again: the file is damaged.",
        )
    what = "cut off" if "moov" in boxes else "missing"
    return ItemError(
        "MissingIndex",
        f"{uri!r} is an MP4 or MOV whose index (moov box) is {what}: boxes {', '.join(boxes[:8])}{overrun}",
        "fetch it again, or repair the file with the program that recorded it.",
    )


def _describe(head: bytes) -> str:
    for offset, magic, name in _OTHER_MAGIC:
        if head[offset:].startswith(magic):
            return name
    if not any(head):
        return "a file of zero bytes only, as an unfinished download leaves behind"
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    for text, name in _TEXT_STARTS:
        if start.startswith(text):
            return name
    try:
        # The last character of the buffer may be truncated.
        shown = head[:-3].decode() if len(head) == _HEAD_BYTES else head.decode()
    except UnicodeDecodeError:
        shown = "\0"
    if all(c.isprintable() or c in "\t\r\n\f" for c in shown):
        # No content: a manifest may name files that its author cannot read, and messages reach tables and reports.
        return "a text file"
    return "not in a format that FFmpeg knows"


def _reason(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error)
