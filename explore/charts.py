"""SVG charts: the funnel of a run and histograms.

Colors are in the style sheet.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from explore.histograms import STATUSES, Histogram
from explore.markup import escape, format_count, format_duration, format_number, format_share
from explore.run_summary import RunSummary

_FUNNEL_WIDTH, _FUNNEL_HEIGHT = 1080, 238
_BAR_WIDTH, _BAR_TOP, _BAR_HEIGHT = 14, 44, 190
_STAGE_X = (0, 400, 800)
_LABEL_STEP = 40
_SLIVER = 3.0
_HIST_WIDTH, _HIST_HEIGHT = 520, 200
_LIMIT_LABEL = 64
_PLOT_LEFT, _PLOT_RIGHT, _PLOT_TOP, _PLOT_BOTTOM = 6, 514, 40, 174


@dataclass(frozen=True, slots=True)
class _Part:
    """A part of a funnel bar: label, count, style class, total duration."""

    label: str
    count: int
    style: str
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class _Segment:
    """A part with its vertical extent in pixels from the top."""

    part: _Part
    top: float
    bottom: float


def draw_funnel(summary: RunSummary) -> str:
    """Funnel from videos to kept clips; each bar splits the passed part of the last."""
    totals = summary.accounting
    stages = (
        (
            "Videos",
            (_Part("done", totals.videos_done, "through"), _Part("failed", totals.videos_failed, "failed")),
        ),
        (
            "Shots",
            (
                _Part("hold clips", totals.shots - summary.shots_without_clip, "through"),
                _Part("hold no clip", summary.shots_without_clip, "idle"),
            ),
        ),
        (
            "Clips found",
            (
                _Part("kept", totals.clips_kept, "kept", summary.clip_s["kept"]),
                _Part("rejected", totals.clips_rejected, "rejected", summary.clip_s["rejected"]),
                _Part("failed", totals.clips_failed, "failed", summary.clip_s["failed"]),
            ),
        ),
    )
    ribbons, bars = [], []
    for i, (title, parts) in enumerate(stages):
        segments = _stack(parts)
        bars.append(_draw_bar(_STAGE_X[i], title, sum(part.count for part in parts), segments))
        if i + 1 < len(stages) and segments and segments[0].part.count:
            ribbons.append(_draw_ribbon(_STAGE_X[i] + _BAR_WIDTH, _STAGE_X[i + 1], segments[0]))
    size = f"0 0 {_FUNNEL_WIDTH} {_FUNNEL_HEIGHT}"
    label = f"{totals.videos} videos, {totals.shots} shots, {totals.clips} clips, {totals.clips_kept} kept"
    head = f'<svg class="funnel" viewBox="{size}" role="img" aria-label="{label}">'
    return head + "".join(ribbons + bars) + "</svg>"


def _stack(parts: Sequence[_Part]) -> list[_Segment]:
    """Segments proportional to their counts; a part that is not empty stays visible."""
    total = sum(part.count for part in parts)
    segments: list[_Segment] = []
    if not total:
        return segments
    heights = [max(_SLIVER, _BAR_HEIGHT * p.count / total) if p.count else 0.0 for p in parts]
    heights = [h * _BAR_HEIGHT / sum(heights) for h in heights]
    top = float(_BAR_TOP)
    for part, height in zip(parts, heights, strict=True):
        segments.append(_Segment(part, top, top + height))
        top += height
    return segments


def _draw_bar(x: float, title: str, total: int, segments: Sequence[_Segment]) -> str:
    drawn = [
        f'<text x="{x}" y="14" class="stage">{title}</text>',
        f'<text x="{x}" y="34" class="total">{format_count(total)}</text>',
    ]
    if not segments:
        drawn.append(f'<rect x="{x}" y="{_BAR_TOP}" width="{_BAR_WIDTH}" height="{_BAR_HEIGHT}" class="idle" rx="2"/>')
    shown = [s for s in segments if s.part.count]
    for segment, y in zip(shown, _label_positions(shown), strict=True):
        height = max(1.0, segment.bottom - segment.top - 1)
        part, text_x = segment.part, x + _BAR_WIDTH + 10
        share = format_share(part.count, total)
        if part.seconds is not None:
            share += f" · {format_duration(part.seconds)}"
        drawn += [
            f'<rect x="{x}" y="{segment.top:.1f}" width="{_BAR_WIDTH}" height="{height:.1f}" '
            f'class="{part.style}" rx="2"/>',
            f'<text x="{text_x}" y="{y:.1f}" class="part">{format_count(part.count)} {part.label}</text>',
            f'<text x="{text_x}" y="{y + 17:.1f}" class="share">{share}</text>',
        ]
    return "".join(drawn)


def _label_positions(segments: Sequence[_Segment]) -> list[float]:
    """Vertical positions of labels: at the tops of their segments, but never overlapping."""
    positions: list[float] = []
    for segment in segments:
        least = positions[-1] + _LABEL_STEP if positions else 0.0
        positions.append(max(segment.top + 15, least))
    limit = _BAR_TOP + _BAR_HEIGHT - 18.0
    for i in reversed(range(len(positions))):
        positions[i] = min(positions[i], limit)
        limit = positions[i] - _LABEL_STEP
    return positions


def _draw_ribbon(left: float, right: float, segment: _Segment) -> str:
    middle = (left + right) / 2
    top, bottom, end = segment.top, segment.bottom - 1, _BAR_TOP + _BAR_HEIGHT - 1
    upper = f"M{left},{top:.1f} C{middle},{top:.1f} {middle},{_BAR_TOP} {right},{_BAR_TOP}"
    lower = f"V{end} C{middle},{end} {middle},{bottom:.1f} {left},{bottom:.1f} Z"
    return f'<path class="ribbon" d="{upper} {lower}"/>'


def draw_histogram(histogram: Histogram) -> str:
    """Stacked histogram of clips by status; ranges beyond the limits are shaded."""
    low, high = float(histogram.edges[0]), float(histogram.edges[-1])
    scale = (_PLOT_RIGHT - _PLOT_LEFT) / (high - low)
    stacked = np.cumsum([histogram.counts[name] for name in STATUSES], axis=0)
    peak = max(1, int(stacked[-1].max()))
    drawn = [
        _draw_limits(histogram, low, high, scale),
        f'<path class="axis" d="M{_PLOT_LEFT},{_PLOT_TOP} H{_PLOT_RIGHT} M{_PLOT_LEFT},{_PLOT_BOTTOM + 0.5} '
        f'H{_PLOT_RIGHT}"/><text x="{_PLOT_RIGHT}" y="{_PLOT_TOP - 5}" class="tick" text-anchor="end">'
        f"{format_count(peak)} {'clip' if peak == 1 else 'clips'}</text>",
    ]
    bar_width = (_PLOT_RIGHT - _PLOT_LEFT) / (len(histogram.edges) - 1)
    for row, name in enumerate(STATUSES):
        below = stacked[row - 1] if row else np.zeros_like(stacked[0])
        for i in map(int, np.flatnonzero(histogram.counts[name])):
            bottom = _PLOT_BOTTOM - (_PLOT_BOTTOM - _PLOT_TOP) * int(below[i]) / peak
            height = (_PLOT_BOTTOM - _PLOT_TOP) * int(histogram.counts[name][i]) / peak
            x = _PLOT_LEFT + i * bar_width
            drawn.append(
                f'<rect x="{x + 0.5:.1f}" y="{bottom - height:.1f}" width="{bar_width - 1:.1f}" '
                f'height="{height:.1f}" class="{name}"/>'
            )
    for tick in _ticks(low, high):
        x = _PLOT_LEFT + (tick - low) * scale
        anchor = "start" if x < _PLOT_LEFT + 8 else "end" if x > _PLOT_RIGHT - 8 else "middle"
        is_last = math.isclose(tick, high) and histogram.num_beyond > 0
        text = ("≥ " if is_last else "") + format_number(tick)
        drawn.append(f'<text x="{x:.1f}" y="{_PLOT_BOTTOM + 18}" class="tick" text-anchor="{anchor}">{text}</text>')
    title = f"histogram of {histogram.column.name}, {histogram.num_values} clips, at most {peak} in a bar"
    size = f"0 0 {_HIST_WIDTH} {_HIST_HEIGHT}"
    return f'<svg class="hist" viewBox="{size}" role="img" aria-label="{escape(title)}">{"".join(drawn)}</svg>'


def _draw_limits(histogram: Histogram, low: float, high: float, scale: float) -> str:
    least, most = histogram.limit.min, histogram.limit.max
    is_narrow = least is not None and most is not None and (most - least) * scale < 2 * _LIMIT_LABEL
    drawn = []
    for name, limit, end in (("min", least, low), ("max", most, high)):
        if limit is None or not low <= limit <= high:
            continue
        x, x_end = _PLOT_LEFT + (limit - low) * scale, _PLOT_LEFT + (end - low) * scale
        # A label stands on the side that passes, unless both would collide or leave the plot there.
        goes_right = (name == "max") == is_narrow
        goes_right = x < _PLOT_LEFT + _LIMIT_LABEL or (goes_right and x < _PLOT_RIGHT - _LIMIT_LABEL)
        anchor, shift = ("start", 5) if goes_right else ("end", -5)
        drawn.append(
            f'<rect x="{min(x, x_end):.1f}" y="{_PLOT_TOP}" width="{abs(x_end - x):.1f}" '
            f'height="{_PLOT_BOTTOM - _PLOT_TOP}" class="cutoff"/>'
            f'<path class="limit" d="M{x:.1f},{_PLOT_TOP - 36} V{_PLOT_BOTTOM}"/>'
            f'<text x="{x + shift:.1f}" y="{_PLOT_TOP - 26}" class="tick" text-anchor="{anchor}">'
            f"{name} {format_number(limit)}</text>"
        )
    return "".join(drawn)


def _ticks(low: float, high: float) -> list[float]:
    """Four to seven round tick values from `low` to `high`."""
    raw = float(high - low) / 5
    power = math.pow(10.0, math.floor(math.log10(raw)))
    step: float = next(s * power for s in (1, 2, 2.5, 5, 10) if s * power >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [i * step for i in range(first, math.floor(high / step + 1e-9) + 1)]
