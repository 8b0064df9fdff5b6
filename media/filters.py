"""From decoded frames to the pictures of a clip: deinterlaced, shrunk, upright, in the encoder's format."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction

import av
from av.filter import Graph
from av.video.frame import VideoFrame

from core.failures import ItemError
from media.planes import planar_format

_SCALER = "bicubic+accurate_rnd+full_chroma_int+bitexact"
_SAMPLING = {"410": "420", "411": "422", "440": "444"}
_UPRIGHT = {
    0: (),
    90: (("transpose", "clock"),),
    180: (("hflip", ""), ("vflip", "")),
    270: (("transpose", "cclock"),),
}
_MIRROR = (("hflip", ""),)


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplePlan:
    """What the pictures of a clip are to be.

    Attributes:
      width, height: size of the finished, upright picture; even.
      scaled_width, scaled_height: size after shrinking, before turning and cropping.
      pixel_format: FFmpeg's name.
      deinterlace: whether frames flagged as interlaced are deinterlaced.
      rotation_deg: clockwise turn: 0, 90, 180 or 270.
      is_mirrored: flip left to right after turning.
    """

    width: int
    height: int
    scaled_width: int
    scaled_height: int
    pixel_format: str
    deinterlace: bool
    rotation_deg: int
    is_mirrored: bool


def fit_size(width: int, height: int, max_short_side_px: int | None) -> tuple[int, int]:
    """Size of a picture whose short side is at most `max_short_side_px`; never larger than it was.

    A size that is shrunk comes out even, one that is kept comes out as it is.
    """
    short = min(width, height)
    if max_short_side_px is None or short <= max_short_side_px:
        return width, height
    scale = Fraction(max_short_side_px // 2 * 2, short)
    return max(2, round(width * scale / 2) * 2), max(2, round(height * scale / 2) * 2)


def nearest_format(source_format: str, supported: Iterable[str]) -> str:
    """The encoder's pixel format that keeps most of a source format: sampling first, then bit depth.

    Args:
      source_format: FFmpeg's name of the decoded format.
      supported: the encoder's formats.
    """
    match = re.fullmatch(r"yuv([aj]?)(4\d\d)p(\d*)(?:le)?", planar_format(source_format))
    if match is None:
        return "yuv420p"  # gray: the format that every player knows
    full_range, sampling, bits = match[1] == "j", _SAMPLING.get(match[2], match[2]), int(match[3] or 8)
    for depth in (12, 10):
        if bits >= depth - 1 and f"yuv{sampling}p{depth}le" in supported:
            return f"yuv{sampling}p{depth}le"
    return f"yuv{'j' if full_range else ''}{sampling}p"


def make_pictures(
    frames: Iterable[VideoFrame], plan: SamplePlan, time_base: Fraction
) -> Iterator[tuple[int, VideoFrame]]:
    """Turns frames of one size and format into pictures, one for one.

    Args:
      frames: with `pts` in `time_base` units.
      plan: what to do.
      time_base: seconds per unit.

    Yields:
      Timestamp of the frame and its picture.

    Raises:
      ItemError: UnsupportedFormat if FFmpeg's filters cannot make it.
    """
    graph: Graph | None = None
    is_first = True
    for frame in frames:
        if is_first:
            is_first, graph = False, _make_graph(frame, plan, time_base)
        if graph is None:
            yield frame.pts or 0, frame
        else:
            graph.vpush(frame)
            yield from _pulled(graph, time_base)
    if graph is not None:
        graph.vpush(None)
        yield from _pulled(graph, time_base)


def _pulled(graph: Graph, time_base: Fraction) -> Iterator[tuple[int, VideoFrame]]:
    while True:
        try:
            picture = graph.vpull()
        except (av.error.BlockingIOError, av.error.EOFError):
            return
        # The deinterlacer counts in half ticks.
        yield int((picture.pts or 0) * (picture.time_base or time_base) / time_base), picture


def _make_graph(frame: VideoFrame, plan: SamplePlan, time_base: Fraction) -> Graph | None:
    steps = list(_filter_steps(frame, plan))
    if not steps:
        return None
    graph = Graph()
    graph.threads = 1
    try:
        nodes = [
            graph.add(
                "buffer",
                video_size=f"{frame.width}x{frame.height}",
                pix_fmt=frame.format.name,
                time_base=str(time_base),
                pixel_aspect="1/1",
                colorspace=str(int(frame.colorspace)),
                range=str(int(frame.color_range)),
            )
        ]
        nodes += [graph.add(name, arguments or None) for name, arguments in steps]
        nodes.append(graph.add("buffersink"))
        graph.link_nodes(*nodes).configure()
    except (av.FFmpegError, ValueError) as error:
        raise ItemError(
            "UnsupportedFormat",
            f"frames of {frame.width}x{frame.height} {frame.format.name!r} cannot be made into "
            f"{plan.width}x{plan.height} {plan.pixel_format!r}: {error}",
            "convert the video to a common format such as yuv420p.",
        ) from error
    return graph


def _filter_steps(frame: VideoFrame, plan: SamplePlan) -> Iterator[tuple[str, str]]:
    if plan.deinterlace:
        yield "bwdif", "mode=send_frame:parity=auto:deint=interlaced"
    size, scaled = (frame.width, frame.height), (plan.scaled_width, plan.scaled_height)
    if scaled != size or plan.pixel_format != frame.format.name:
        matrix = f":out_color_matrix={rgb_matrix_name(scaled)}:out_range=tv" if frame.format.is_rgb else ""
        yield "scale", f"{scaled[0]}:{scaled[1]}:flags={_SCALER}{matrix}"
        yield "format", f"pix_fmts={plan.pixel_format}"
    yield from _UPRIGHT[plan.rotation_deg]
    if plan.is_mirrored:
        yield from _MIRROR
    turned = scaled[::-1] if plan.rotation_deg in (90, 270) else scaled
    if turned != (plan.width, plan.height):
        yield "crop", f"{plan.width}:{plan.height}:0:0"


def rgb_matrix_name(size: tuple[int, int]) -> str:
    """Matrix that RGB pictures of a size are coded with: BT.709 above standard definition, else BT.601."""
    return "bt709" if max(size) >= 1280 or min(size) > 576 else "smpte170m"
