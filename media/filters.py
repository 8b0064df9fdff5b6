"""Filters decoded frames for the encoder: deinterlaced, scaled, upright, in its pixel format."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction

import av
from av.filter import Graph
from av.video.frame import VideoFrame

from core.failures import ItemError
from media.color import PQ, is_rgb, matrix_of, tag_color, tone_mapping_lut
from media.planes import planar_format

_SCALER = "bicubic+accurate_rnd+full_chroma_int+bitexact"
_SAMPLING = {"410": "420", "411": "422", "440": "444"}
_ROTATIONS = {
    0: (),
    90: (("transpose", "clock"),),
    180: (("hflip", ""), ("vflip", "")),
    270: (("transpose", "cclock"),),
}
_MATRIX_NAMES = {1: "bt709", 6: "smpte170m", 9: "bt2020"}
_MIRROR = (("hflip", ""),)


@dataclass(frozen=True, slots=True, kw_only=True)
class FilterSpec:
    """Filter graph of a clip: size, pixel format, deinterlacing and orientation of its frames.

    Attributes:
      width, height: size of the output, upright; even.
      scaled_width, scaled_height: size after scaling, before rotation and cropping.
      pixel_format: FFmpeg's name.
      deinterlace: whether frames flagged as interlaced are deinterlaced; others pass unchanged.
      tone_mapped_from: code point of the transfer (PQ or HLG) that is mapped to BT.709; None for no tone mapping.
      rotation_deg: clockwise rotation: 0, 90, 180 or 270.
      is_mirrored: horizontal flip after the rotation.
    """

    width: int
    height: int
    scaled_width: int
    scaled_height: int
    pixel_format: str
    deinterlace: bool
    tone_mapped_from: int | None = None
    rotation_deg: int
    is_mirrored: bool


def fit_size(width: int, height: int, max_short_side_px: int | None) -> tuple[int, int]:
    """Size whose short side is at most `max_short_side_px`; never enlarged.

    A size that is reduced becomes even; others are returned unchanged.
    """
    short = min(width, height)
    if max_short_side_px is None or short <= max_short_side_px:
        return width, height
    scale = Fraction(max_short_side_px // 2 * 2, short)
    return max(2, round(width * scale / 2) * 2), max(2, round(height * scale / 2) * 2)


def nearest_format(source_format: str, supported: Iterable[str]) -> str:
    """The encoder's pixel format nearest to a source format: chroma subsampling first, then bit depth.

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


def filter_frames(
    frames: Iterable[VideoFrame], spec: FilterSpec, time_base: Fraction
) -> Iterator[tuple[int, VideoFrame]]:
    """Filters frames of one size and format, one by one.

    Args:
      frames: with `pts` in `time_base` units.
      spec: the filter graph.
      time_base: seconds per unit.

    Yields:
      PTS in `time_base` units and the filtered frame.

    Raises:
      ItemError: UnsupportedFormat if FFmpeg's filters cannot convert the frames.
    """
    graph: Graph | None = None
    is_first = True
    for frame in frames:
        if is_first:
            is_first, graph = False, _make_graph(frame, spec, time_base)
        if graph is None:
            yield frame.pts or 0, frame
        else:
            graph.vpush(frame)
            yield from _pull_frames(graph, time_base)
    if graph is not None:
        graph.vpush(None)
        yield from _pull_frames(graph, time_base)


def _pull_frames(graph: Graph, time_base: Fraction) -> Iterator[tuple[int, VideoFrame]]:
    while True:
        try:
            filtered = graph.vpull()
        except (av.error.BlockingIOError, av.error.EOFError):
            return
        tag_color(filtered)  # frames that were RGB
        # bwdif doubles the time base.
        yield int((filtered.pts or 0) * (filtered.time_base or time_base) / time_base), filtered


def _make_graph(frame: VideoFrame, spec: FilterSpec, time_base: Fraction) -> Graph | None:
    steps = list(_filter_chain(frame, spec))
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
        with tempfile.TemporaryDirectory(prefix="spatialbeam-lut-") as folder:
            for name, arguments in steps:
                if name == "lut3d":
                    nodes.append(graph.add(name, **_lut_options(folder, spec)))
                else:
                    nodes.append(graph.add(name, arguments or None))
            nodes.append(graph.add("buffersink"))
            graph.link_nodes(*nodes).configure()
    except (av.FFmpegError, ValueError) as error:
        raise ItemError(
            "UnsupportedFormat",
            f"frames of {frame.width}x{frame.height} {frame.format.name!r} cannot be converted to "
            f"{spec.width}x{spec.height} {spec.pixel_format!r}: {error}",
            "convert the video to a common format such as yuv420p.",
        ) from error
    return graph


def _filter_chain(frame: VideoFrame, spec: FilterSpec) -> Iterator[tuple[str, str]]:
    if spec.deinterlace:
        yield "bwdif", "mode=send_frame:parity=auto:deint=interlaced"
    size, scaled = (frame.width, frame.height), (spec.scaled_width, spec.scaled_height)
    scale, format_ = f"{scaled[0]}:{scaled[1]}:flags={_SCALER}", f"pix_fmts={spec.pixel_format}"
    if spec.tone_mapped_from is not None:
        yield "scale", scale
        yield "format", "pix_fmts=gbrp12le"
        yield "lut3d", ""
        yield "scale", f"{scale}:out_color_matrix=bt709:out_range=tv"
        yield "format", format_
        yield "setparams", "color_primaries=bt709:color_trc=bt709:colorspace=bt709:range=tv"
    elif scaled != size or spec.pixel_format != frame.format.name:
        if is_rgb(frame.format.name):
            scale += f":out_color_matrix={_MATRIX_NAMES[matrix_of(frame)]}:out_range=tv"
        elif frame.format.name.startswith("gray"):
            scale += ":out_range=tv"
        yield "scale", scale
        yield "format", format_
    yield from _ROTATIONS[spec.rotation_deg]
    if spec.is_mirrored:
        yield from _MIRROR
    upright = scaled[::-1] if spec.rotation_deg in (90, 270) else scaled
    if upright != (spec.width, spec.height):
        yield "crop", f"{spec.width}:{spec.height}:0:0"


def _lut_options(folder: str, spec: FilterSpec) -> dict[str, str]:
    """Options of FFmpeg's lut3d, whose table is written into a folder."""
    path = os.path.join(folder, "tone_mapping.cube")
    with open(path, "w") as file:
        file.write(tone_mapping_lut(spec.tone_mapped_from or PQ))
    return {"file": path, "interp": "trilinear"}  # plain C, equal on every processor
