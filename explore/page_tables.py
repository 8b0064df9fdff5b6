"""Tables of the report: videos, failures, and building blocks of tables."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from explore.markup import escape, format_count, format_duration, format_number
from explore.run_summary import RunSummary

ROWS_PER_PAGE = 50


def make_table(columns: Iterable[str], rows: Iterable[Iterable[str]], numeric: frozenset[int] = frozenset()) -> str:
    """HTML table from rendered cells; `numeric` columns are aligned to the right."""
    return _wrap_rows(columns, "".join(f"<tr>{''.join(row)}</tr>" for row in rows), numeric)


def _wrap_rows(columns: Iterable[str], body: str, numeric: frozenset[int]) -> str:
    head = "".join(
        f'<th class="number">{name}</th>' if i in numeric else f"<th>{name}</th>" for i, name in enumerate(columns)
    )
    return f'<div class="card scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def page_blocks(items: Iterable[str], per_page: int, name: str, wrap: Callable[[str], str]) -> str:
    """Items in pages; one page is open at a time.

    Args:
      items: rendered items.
      per_page: items on a page.
      name: of the group of pages; unique in the document.
      wrap: wraps the items of a page in their container.
    """
    items = list(items)
    pages = [items[i : i + per_page] for i in range(0, len(items), per_page)]
    if len(pages) < 2:
        return wrap("".join(items))
    return "".join(
        f'<details class="page" name="{name}"{" open" if k == 0 else ""}><summary>{k * per_page + 1} to '
        f"{k * per_page + len(page)}</summary>{wrap(''.join(page))}</details>"
        for k, page in enumerate(pages)
    )


def make_paged_table(
    columns: Sequence[str], rows: Iterable[Sequence[str]], name: str, numeric: frozenset[int] = frozenset()
) -> str:
    """A table in pages of 50 rows; `name` is that of the group of pages."""
    rendered = [f"<tr>{''.join(row)}</tr>" for row in rows]
    return page_blocks(rendered, ROWS_PER_PAGE, name, lambda body: _wrap_rows(columns, body, numeric))


def make_cell(content: str, style: str = "") -> str:
    """A table cell of rendered content with a style class."""
    return f'<td class="{style}">{content}</td>' if style else f"<td>{content}</td>"


def count_cell(value: int | None) -> str:
    """A table cell with a count; a dash for None."""
    return make_cell("–" if value is None else format_count(value), "number")


def render_videos(summary: RunSummary) -> str:
    """Table of the videos, those with problems first."""
    total = summary.accounting.videos
    if not summary.videos:
        return '<p class="soft">No video was listed.</p>'
    lead = []
    if any(video["status"] == "failed" or video["decode_errors"] for video in summary.videos):
        lead.append("Problems first.")
    if total > len(summary.videos):
        lead.append(f"The first {format_count(len(summary.videos))} of {format_count(total)} videos.")
    columns = ("file", "status", "size", "codec", "fps", "duration", "shots", "clips", "kept", "notes")
    table = make_paged_table(columns, map(_video_cells, summary.videos), "videos", frozenset({4, 5, 6, 7, 8}))
    return f'<p class="lead">{" ".join(lead)}</p>{table}'


def _video_cells(video: Mapping[str, Any]) -> list[str]:
    notes = []
    if video["failure_class"]:
        notes.append(f"{video['failure_class']}: {video['failure_message']}")
    if video["decode_errors"]:
        notes.append(f"{video['decode_errors']} packets did not decode: {video['first_decode_error']}.")
    if video["is_variable_frame_rate"]:
        notes.append("Variable frame rate.")
    size = f"{video['width']} × {video['height']}" if video["width"] else "–"
    uri = video["source_uri"]
    name = posixpath.basename(uri) or uri
    return [
        make_cell(f'<bdi title="{escape(uri)}">{escape(name)}</bdi>', "name"),
        make_cell(f'<span class="pill {escape(video["status"])}">{escape(video["status"])}</span>'),
        make_cell(size, "size"),
        make_cell(escape(video["codec"] or "–")),
        make_cell(format_number(video["fps"]), "number"),
        make_cell(format_duration(video["duration_s"]), "number"),
        count_cell(video["num_shots"]),
        count_cell(video["num_clips"]),
        count_cell(video["kept"] if video["num_clips"] is not None else None),
        make_cell(f"<bdi>{escape(' '.join(notes))}</bdi>", "note"),
    ]


def make_reasons(what: str, reasons: Sequence[tuple[str, int]]) -> str:
    """Table of kept clips that lack something, by reason; empty without reasons."""
    if not reasons:
        return ""
    total = sum(count for _, count in reasons)
    cells = ((make_cell(f"<bdi>{escape(reason)}</bdi>"), count_cell(count)) for reason, count in reasons)
    title = f'<h3 class="after">{format_count(total)} kept clips {escape(what)}</h3>'
    return title + make_table(("reason", "clips"), cells, frozenset({1}))


def render_failures(summary: RunSummary) -> str:
    """Tables of failure counts by class and of the first failure rows."""
    total = summary.accounting.failure_rows
    if not total:
        return '<p class="soft">Nothing failed.</p>'
    groups = make_table(
        ("item", "stage", "class", "to blame", "count"),
        (
            (
                *(make_cell(escape(group[name])) for name in ("item", "stage", "error_class")),
                make_cell("the program" if group["is_bug"] else "the input"),
                count_cell(group["count"]),
            )
            for group in summary.failure_groups
        ),
        frozenset({4}),
    )
    rows = (
        (
            make_cell(escape(row["item"])),
            make_cell(f"<bdi>{escape(row['source_uri'])}</bdi><br><code>{escape(row['key'])}</code>", "name"),
            make_cell(f'{escape(row["error_class"])}<br><span class="soft">{escape(row["stage"])}</span>'),
            make_cell(f"<bdi>{escape(row['message'])}</bdi>", "note"),
        )
        for row in summary.failures
    )
    shown = "All rows of the failure table."
    if total > len(summary.failures):
        shown = f"The first {format_count(len(summary.failures))} of {format_count(total)} failure rows."
    return (
        groups
        + f'<p class="lead after">{shown}</p>'
        + make_paged_table(("item", "source", "failure", "cause and remedy"), rows, "failures")
    )
