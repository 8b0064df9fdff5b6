"""HTML report of a finished run: one static page without scripts or external requests."""

from __future__ import annotations

import json
import posixpath
from collections.abc import Mapping
from importlib import resources
from typing import Any

from core.accounting import Accounting
from core.thresholds import Limit
from explore.charts import draw_funnel, draw_histogram
from explore.clip_cards import render_clips
from explore.histograms import STATUSES, Histogram
from explore.markup import escape, format_count, format_duration, format_number, format_share
from explore.outputs import RUN_FILE, OutputError
from explore.page_sections import render_models, render_motion, render_stages
from explore.page_tables import count_cell, make_cell, make_table, render_failures, render_videos
from explore.run_summary import RunSummary, gather_run_summary
from storage.store import Store
from storage.tables import CONVENTIONS
from storage.uris import normalize_uri

REPORT_PATH = "report/index.html"
_FEW = 20
_SECTIONS = (
    "Overview",
    "Rejections",
    "Scores",
    "Motion",
    "Clips",
    "Stages",
    "Videos",
    "Failures",
    "Models",
    "Conventions",
)
# Nothing may load or run, whatever a file name holds.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


def write_report(output_uri: str, limits: Mapping[str, Any] | None = None) -> str:
    """Writes `report/index.html` of a finished run and returns its URI.

    The page is self-contained: images are embedded, at most 60 clips are shown, long tables are truncated.
    Equal tables give equal bytes.

    Args:
      output_uri: local folder or any fsspec URI.
      limits: thresholds by column, each with `min` and `max` (`core.thresholds.Limit` or a mapping); taken from
        the run's `run.json` if None and there is one.

    Raises:
      OutputError: if the folder is no finished run.
    """
    output_uri = normalize_uri(output_uri)
    output = Store(output_uri)
    parsed = _read_limits(output) if limits is None else _parse_limits(limits)
    summary = gather_run_summary(output_uri, parsed)
    page = render_page(summary, render_clips(output_uri, output, _clip_counts(summary.accounting)))
    output.write_bytes(REPORT_PATH, page.encode(), "text/html")
    return posixpath.join(output_uri, REPORT_PATH)


def _read_limits(output: Store) -> dict[str, Limit]:
    if not output.exists(RUN_FILE):
        return {}
    try:
        return _parse_limits(json.loads(output.read_bytes(RUN_FILE))["config"]["thresholds"]["limits"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        cause = " ".join(repr(error).split())
        raise OutputError(
            f"{RUN_FILE} of {output.root_uri!r} cannot be read ({cause}): run the job again, or remove the file to get "
            "the report without limits"
        ) from error


def _parse_limits(limits: Mapping[str, Any]) -> dict[str, Limit]:
    return {column: Limit.model_validate(limit) for column, limit in limits.items() if limit is not None}


def _clip_counts(accounting: Accounting) -> dict[str, int]:
    return dict(zip(STATUSES, (accounting.clips_kept, accounting.clips_rejected, accounting.clips_failed), strict=True))


def render_page(summary: RunSummary, clip_cards: str) -> str:
    """The page from the run summary and the rendered clips."""
    accounting = summary.accounting
    title = f"{format_count(accounting.clips_kept)} of {format_count(accounting.clips)} clips kept"
    style = resources.files("explore").joinpath("report.css").read_text(encoding="utf-8")
    contents = (
        _render_overview(summary),
        _render_rejections(summary),
        _render_scores(summary),
        render_motion(summary, _render_histogram),
        '<p class="lead">A sample stratified by reason and video; point at a kept clip to play it. Times are '
        "those of the source; the word behind them says how the shot begins, with the detector’s confidence.</p>"
        + clip_cards,
        render_stages(summary),
        render_videos(summary),
        render_failures(summary),
        render_models(summary),
        _render_conventions(),
    )
    links = "".join(f'<a href="#{name.lower()}">{name}</a>' for name in _SECTIONS)
    sections = "".join(
        f'<section id="{name.lower()}"><h2>{name}</h2>{content}</section>'
        for name, content in zip(_SECTIONS, contents, strict=True)
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title} – run report</title><style>{style}</style></head><body>"
        f'<header><p class="eyebrow">SpatialBeam run report</p><h1>{title}</h1>'
        f'<p class="soft">{_summarize(summary)}</p></header><nav><div>{links}</div></nav>'
        f"<main>{sections}<footer></footer></main></body></html>\n"
    )


def _summarize(summary: RunSummary) -> str:
    accounting = summary.accounting
    parts = [f"{format_count(accounting.videos)} {'video' if accounting.videos == 1 else 'videos'}"]
    if accounting.videos_failed:
        parts[0] += f", {format_count(accounting.videos_failed)} failed"
    parts.append(f"{format_duration(summary.video_s)} decoded")
    parts.append(f"{format_duration(sum(summary.clip_s.values()))} in clips")
    parts.append(f"{format_duration(summary.clip_s['kept'])} kept")
    return " · ".join(parts)


def _render_overview(summary: RunSummary) -> str:
    accounting = summary.accounting
    notes = []
    if accounting.inputs_skipped:
        notes.append(f"{format_count(accounting.inputs_skipped)} listed inputs were not processed (see Failures).")
    if accounting.buggy_videos:
        notes.append(f"{format_count(accounting.buggy_videos)} videos failed by a fault of the program.")
    if damaged := summary.run.get("damaged_results"):
        notes.append(f"{format_count(damaged)} damaged files of earlier runs were found and computed anew.")
    note = f'<p class="lead">{" ".join(notes)}</p>' if notes else ""
    return f'{note}<div class="card scroll">{draw_funnel(summary)}</div>{_render_accounting(accounting)}'


def _render_accounting(accounting: Accounting) -> str:
    """Whether every item is accounted for: the rules with their numbers."""
    rows = (
        (
            make_cell(balance.rule),
            make_cell(f"{format_count(balance.total)} = {' + '.join(map(format_count, balance.parts))}", "number"),
            make_cell("holds", "holds") if balance.holds else make_cell("does not hold", "fails"),
        )
        for balance in accounting.balances()
    )
    table = make_table(("rule", "count", ""), rows, frozenset({1}))
    if accounting.problems():
        text = "The totals do not balance: this data set must not be trusted."
        return f'<div class="card bad-news verdict"><b>{text}</b></div>{table}'
    text = "The totals balance: every video and every clip is accounted for."
    return f'<details class="accounting"><summary>{text}</summary>{table}</details>'


def _render_rejections(summary: RunSummary) -> str:
    accounting = summary.accounting
    if not summary.reasons:
        body = '<p class="soft">No clip was rejected.</p>'
    else:
        most = summary.reasons[0].clips
        rows = (
            (
                make_cell(escape(r.reason)),
                make_cell(f'<div style="width:{100 * r.clips / most:.1f}%"></div>', "bar"),
                count_cell(r.clips),
                make_cell(format_share(r.clips, accounting.clips), "number"),
                make_cell(format_duration(r.seconds), "number"),
                count_cell(r.alone),
            )
            for r in summary.reasons
        )
        body = (
            '<p class="lead">A clip can miss several limits; “only this” counts those that miss no other. '
            "Clips that a cheap score rejects are not shown to the models: their reasons may be fewer.</p>"
        ) + make_table(("reason", "", "clips", "of all found", "length", "only this"), rows, frozenset({2, 3, 4, 5}))
    for column, count in summary.unchecked:
        body += (
            f'<p class="soft after">{escape(column)} could not be checked on {format_count(count)} of '
            f"{format_count(accounting.clips_kept)} kept clips, since they have no such score.</p>"
        )
    return body


def _render_scores(summary: RunSummary) -> str:
    has_limits = any(h.limit != Limit() for h in summary.histograms)
    legend = "".join(
        f'<span><i class="{name}"></i>{name}</span>'
        for name in STATUSES
        if name != "failed" or summary.accounting.clips_failed
    )
    if has_limits:
        legend += '<span><i class="cutoff"></i>outside of the limits</span>'
    cards = "".join(_render_histogram(d) for d in summary.histograms)
    return f'<div class="legend">{legend}</div><div class="pair">{cards}</div>'


def _render_histogram(histogram: Histogram) -> str:
    column = histogram.column
    head = f'<h3>{column.title} <code class="soft">{column.name}</code></h3><p class="soft">{column.description}</p>'
    notes = []
    if histogram.quantiles:
        least, low, median, high, largest = map(format_number, histogram.quantiles)
        if histogram.num_values < _FEW:
            notes.append(f"Median {median}, from {least} to {largest}.")
        else:
            notes.append(f"Median {median}, 90 % of the clips within {low} to {high}.")
    if histogram.below or histogram.above:
        sides = [
            f"{format_count(n)} {side}" for n, side in ((histogram.below, "below"), (histogram.above, "above")) if n
        ]
        notes.append(f"Limits: {', '.join(sides)}.")
    if histogram.num_beyond:
        notes.append(f"The last bar also holds {format_count(histogram.num_beyond)} larger values.")
    for reason, count in histogram.missing:
        notes.append(f"{format_count(count)} without a score: {escape(reason)}.")
    models = "".join(f"<p>Model: <code>{escape(model)}</code></p>" for model in histogram.models)
    nothing = '<p class="soft nothing">no clip has this score</p>'
    chart = draw_histogram(histogram) if histogram.num_values else nothing
    return f'<div class="card hist-card">{head}{chart}<p>{" ".join(notes)}</p>{models}</div>'


def _render_conventions() -> str:
    terms = "".join(f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in CONVENTIONS.items())
    return f'<p class="lead">What the numbers mean.</p><div class="card"><dl class="terms">{terms}</dl></div>'
