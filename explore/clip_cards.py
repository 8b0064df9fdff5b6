"""Clips to look at, as HTML: pictures, where they come from, scores and verdict."""

from __future__ import annotations

import base64
import io
import posixpath
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

from PIL import Image

from core.store import Store
from explore.markup import escape, format_clock, format_count, format_duration, format_number
from explore.samples import ClipRow, load_pictures, missed_columns, pick_clips

CLIPS_SHOWN = {"kept": 24, "rejected": 24, "failed": 12}
SCORE_LABELS = {
    "motion_score": "motion",
    "motion_normalized": "normalized",
    "luminance_score": "luminance",
    "ocr_score": "text",
    "aesthetic_score": "aesthetic",
}
_PICTURE_BOX = (240, 135)
_JPEG_QUALITY = 80
_READERS = 8


def render_clips(output_uri: str, output: Store, counts: Mapping[str, int]) -> str:
    """Cards of at most 60 clips, by status.

    Args:
      output_uri: folder of a finished run.
      output: the same as a store, for the sample images.
      counts: all clips of the run by status.
    """
    parts = []
    with ThreadPoolExecutor(_READERS) as readers:
        for status, clips in pick_clips(output_uri, CLIPS_SHOWN).items():
            if not clips:
                continue
            pictures = readers.map(lambda clip: load_pictures(output, clip, _PICTURE_BOX), clips)
            cards = "".join(_render_card(c, p) for c, p in zip(clips, pictures, strict=True))
            total = counts[status]
            shown = f"{len(clips)} of {format_count(total)}" if total > len(clips) else f"all {total}"
            parts.append(
                f'<div class="subhead"><h3><span class="pill {status}">{status}</span></h3>'
                f'<span class="soft">{shown}</span></div><div class="clips">{cards}</div>'
            )
    return "".join(parts) or '<p class="soft">No clip was found.</p>'


def describe_span(clip: ClipRow) -> str:
    """Time span of a clip in its source."""
    span = f"{format_clock(clip['start_s'])} to {format_clock(clip['end_s'])}"
    return f"{span} ({format_duration(clip['duration_s'])})"


def describe_boundary(clip: ClipRow) -> str:
    """How the clip's shot begins."""
    confidence = clip["shot_boundary_confidence"]
    suffix = "" if confidence is None else f" {confidence:.2f}"
    return f"{clip['shot_boundary_kind'] or 'unknown boundary'}{suffix}"


def describe_verdict(clip: ClipRow) -> list[str]:
    """Why a clip was not kept; empty for a kept one."""
    if clip["status"] == "failed":
        return [f"{clip['failure_class']} in {clip['failure_stage']}: {clip['failure_message']}"]
    return list(clip["rejection_reasons"] or [])


def _render_card(clip: ClipRow, pictures: list[Image.Image]) -> str:
    name = posixpath.basename(clip["source_uri"]) or clip["source_uri"]
    missed = missed_columns(clip)
    scores = "".join(
        f'<div class="{"missed" if column in missed else "met"}"><dt>{label}</dt>'
        f"<dd>{format_number(clip[column])}</dd></div>"
        for column, label in SCORE_LABELS.items()
    )
    pictured = _render_pictures(pictures, clip["clip_id"])
    return (
        f'<article><div class="pictures">{pictured}</div><div class="facts">'
        f'<span class="file" title="{escape(clip["source_uri"])}"><bdi>{escape(name)}</bdi></span>'
        f'<p class="soft">{describe_span(clip)} · {escape(describe_boundary(clip))}<br>'
        f"<code>{escape(clip['clip_id'])}</code></p>"
        f'<dl class="scores">{scores}</dl>{_render_verdict(clip)}</div></article>'
    )


def _render_verdict(clip: ClipRow) -> str:
    verdict = describe_verdict(clip)
    if not verdict:
        return ""
    if clip["status"] == "rejected":
        pills = "".join(f'<span class="pill rejected">{escape(reason)}</span>' for reason in verdict)
        return f'<div class="reasons">{pills}</div>'
    return f'<p class="soft verdict"><bdi>{escape("; ".join(verdict))}</bdi></p>'


def _render_pictures(pictures: list[Image.Image], clip_id: str) -> str:
    if not pictures:
        return "<p>no sample image in the store</p>"
    alt = escape(f"sample image of clip {clip_id}")
    return "".join(f'<img src="{_data_uri(picture)}" alt="{alt}">' for picture in pictures)


def _data_uri(picture: Image.Image) -> str:
    data = io.BytesIO()
    picture.save(data, "JPEG", quality=_JPEG_QUALITY, optimize=True)
    return f"data:image/jpeg;base64,{base64.b64encode(data.getvalue()).decode()}"
