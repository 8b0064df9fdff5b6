"""Report sections on annotation, stages and models."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from explore.histograms import Histogram
from explore.markup import escape, format_count, format_duration, format_number
from explore.page_tables import count_cell, make_cell, make_reasons, make_table
from explore.run_summary import RunSummary
from explore.stats import StatsTable

_MOTION_TABLES = ("motion direction", "camera motion", "turns of the path", "distance level")
_TAG_TABLES = ("scene type", "brightness", "time of day", "weather", "crowd density")


def render_motion(summary: RunSummary, draw_card: Callable[[Histogram], str]) -> str:
    """Section on camera motion, tags and missing poses of kept clips.

    Args:
      summary: the run summary.
      draw_card: draws the card of a histogram.
    """
    parts = []
    histograms = [histogram for histogram in summary.motion if histogram.num_values]
    if histograms:
        parts.append(f'<div class="pair">{"".join(map(draw_card, histograms))}</div>')
    tables = {table.title: table for table in summary.stats}
    shown = [tables[name] for name in (*_MOTION_TABLES, *_TAG_TABLES) if name in tables]
    shown = [table for table in shown if any(row[0] != "Unknown" for row in table.rows)]
    if shown:
        parts.append(f'<div class="bars after">{"".join(map(_render_value_counts, shown))}</div>')
    parts.append(make_reasons("have no poses that are fit for use", summary.pose_failures))
    parts.append(make_reasons("have no caption", summary.caption_failures))
    return "".join(parts) or '<p class="soft">No kept clip was annotated.</p>'


def _render_value_counts(table: StatsTable) -> str:
    most = max(row[1] for row in table.rows)
    lines = "".join(
        f'<dt>{escape(value)}</dt><dd><div style="width:{100 * clips / most:.1f}%"></div>'
        f"<span>{format_count(clips)}</span></dd>"
        for value, clips, *_ in table.rows
    )
    return f'<div class="card"><h3>{escape(table.title)}</h3><dl>{lines}</dl></div>'


def render_stages(summary: RunSummary) -> str:
    """Section on counts and times of each stage in the last run."""
    times: Mapping[str, Mapping[str, float]] = summary.run.get("stage_times") or {}
    if not times:
        return '<p class="soft">The run did not note the times of its stages.</p>'
    seconds = (summary.run.get("timing") or {}).get("seconds")
    most = max(row["busy_s"] for row in times.values()) or 1.0
    rows = (
        (
            make_cell(escape(name)),
            make_cell(f'<div style="width:{100 * row["busy_s"] / most:.1f}%"></div>', "bar through"),
            make_cell(format_duration(row["busy_s"]), "number"),
            count_cell(int(row["done"])),
            count_cell(int(row["reused"])),
            count_cell(int(row["failed"])),
            make_cell(_seconds_each(row), "number"),
        )
        for name, row in sorted(times.items(), key=lambda item: (-item[1]["busy_s"], item[0]))
        if row["done"] + row["reused"] + row["failed"]
    )
    lead = "Times are summed over all workers; cache hits in the store count as “reused”."
    if seconds:
        hours = summary.video_s / 3600
        lead += f" The whole run took {format_duration(seconds)}"
        lead += f", {format_number(hours / (seconds / 3600))} hours of video an hour." if hours else "."
    columns = ("stage", "", "time", "done", "reused", "failed", "seconds each")
    return f'<p class="lead">{lead}</p>' + make_table(columns, rows, frozenset({2, 3, 4, 5, 6}))


def _seconds_each(row: Mapping[str, float]) -> str:
    count = row["done"] + row["failed"]
    return format_number(row["busy_s"] / count) if count else "–"


def render_models(summary: RunSummary) -> str:
    """Section on models with their licenses, and on versions."""
    models: Mapping[str, Any] = summary.run.get("models") or {}
    captions = "".join(
        f'<p class="soft after">Captions of {format_count(count)} clips by <code>{escape(model)}</code>.</p>'
        for model, count in summary.caption_models
    )
    if not models:
        return captions + '<p class="soft">The run did not note its models.</p>'
    rows = (
        (
            make_cell(escape(stage)),
            make_cell(escape(model.get("id") or "none")),
            make_cell(escape(model.get("license") or "–")),
            make_cell(_commercial(model)),
            make_cell(f"<bdi>{escape(model.get('computes') or model.get('reason') or '')}</bdi>", "note"),
            make_cell(f"<code>{escape((model.get('sha256') or '')[:16])}</code>"),
        )
        for stage, model in models.items()
    )
    table = make_table(("stage", "model", "license", "commercial use", "computes", "digest"), rows)
    versions = summary.run.get("versions") or {}
    listed = ", ".join(f"{name} {version}" for name, version in versions.items() if version)
    note = f"Stages that are not listed run no network of this program. Versions: {listed}."
    return f'{table}{captions}<p class="soft after">{escape(note)}</p>'


def _commercial(model: Mapping[str, Any]) -> str:
    allowed = model.get("commercial_use")
    return "–" if allowed is None else "yes" if allowed else "no"
