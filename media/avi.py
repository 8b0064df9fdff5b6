"""Times of the frames of an AVI file: by its index, where FFmpeg counts only the chunks that it finds."""

from __future__ import annotations

import struct
from collections import deque
from typing import BinaryIO

from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from media.source import open_for_reading

AVI = "avi"
"""FFmpeg's name of the container."""
_HEADER_BYTES = 8
_MAX_DELAY = 64
_INDEX_ENTRY = struct.Struct("<4sIII")
_PROBED_INDEX_BYTES = 1 << 16


class AviTimes:
    """Times of the packets and frames of an AVI video; does nothing for other containers.

    AVI states no times: FFmpeg counts the chunks that it finds, and a frame that waits for a later packet takes that
    packet's number. Two things keep damage from moving other frames:

    - The index (`idx1`) has an entry for each chunk, damaged or not, so packets are numbered by their position.
    - If packets are lost while a frame waits, it waits as long as the last frame of its type did.
    """

    def __init__(self, container: InputContainer, stream: VideoStream, uri: str) -> None:
        self._is_avi = container.format.name == AVI
        self._times: dict[int, int] = {}
        if self._is_avi and (entries := list(stream.index_entries)):
            shift = _index_shift(uri, stream.index, entries[0].pos) + _HEADER_BYTES
            self._times = {entry.pos + shift: entry.timestamp for entry in entries}
        self.reset()

    def reset(self) -> None:
        """Forgets the packets so far. Call before decoding starts elsewhere."""
        self._waiting: set[int] = set()
        self._decoded: deque[int] = deque(maxlen=_MAX_DELAY)
        self._delays: dict[int, int] = {}

    def stamp_packet(self, packet: Packet[VideoStream]) -> None:
        """Gives a packet the time that the index states, and one without PTS its number instead."""
        if not self._is_avi or not packet.size or packet.dts is None:
            return
        time = self._times.get(packet.pos or 0, packet.dts)
        if packet.pts is not None:
            packet.pts += time - packet.dts
        else:
            packet.pts = time
            self._waiting.add(time)
        packet.dts = time
        self._decoded.append(time)

    def note_failure(self, packet: Packet[VideoStream]) -> None:
        """Notes that a packet could not be decoded."""
        if self._decoded and self._decoded[-1] == packet.dts:
            self._decoded.pop()

    def stamp_frame(self, frame: VideoFrame) -> None:
        """Gives a frame whose packet had no PTS the DTS at which it was due, and no PTS."""
        number, released = frame.pts, frame.dts
        if number is None or number not in self._waiting:
            return
        self._waiting.discard(number)
        frame.pts = None
        if released is None:
            return
        delay = released - number
        decoded = [time for time in self._decoded if number < time <= released]
        if len(decoded) == delay:
            self._delays[frame.pict_type] = delay
            return
        # The packets up to the first lost one did not release the frame.
        next_lost = next(n for n, time in enumerate([*decoded, released + 1], number + 1) if n != time)
        frame.dts = min(released, max(next_lost, number + self._delays.get(frame.pict_type, 0)))


def _index_shift(uri: str, stream_index: int, first_pos: int) -> int:
    """Bytes to add to FFmpeg's positions of index entries: not 0 if the first chunks are damaged.

    FFmpeg takes the first chunk that it finds for that of the first entry (`avi_read_idx1`), whatever lies before.
    """
    with open_for_reading(uri) as file:
        found = _find_lists(file)
        if found is None:
            return 0
        movi, index, size = found
        file.seek(movi + 4)
        if file.read(4).isalnum():
            return 0
        file.seek(index)
        data = file.read(min(size, _PROBED_INDEX_BYTES))
    entries = list(_INDEX_ENTRY.iter_unpack(data[: len(data) // _INDEX_ENTRY.size * _INDEX_ENTRY.size]))
    prefix = b"%02d" % stream_index
    first = next((pos for tag, _, pos, length in entries if tag.startswith(prefix) and length), None)
    if first is None:
        return 0
    # Positions count from the list's type, from behind it, or from the start of the file.
    first_of_all = entries[0][2]
    base = 0 if first_of_all > movi else movi if first_of_all else movi + 4
    return first + base - first_pos


def _find_lists(file: BinaryIO) -> tuple[int, int, int] | None:
    """Positions of the list type `movi` and of the entries of `idx1`, and their size in bytes; None if not found."""
    position, movi = 12, None
    while True:
        file.seek(position)
        header = file.read(12)
        if len(header) < _HEADER_BYTES:
            return None
        name, size = header[:4], int.from_bytes(header[4:8], "little")
        if name == b"LIST" and header[8:] == b"movi":
            movi = position + _HEADER_BYTES
        elif name == b"idx1":
            return None if movi is None else (movi, position + _HEADER_BYTES, size)
        elif not name.strip().isalnum():
            return None
        position += _HEADER_BYTES + size + size % 2
