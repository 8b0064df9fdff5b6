"""Clips of the report as HTML cards: images, source, scores and verdict."""

from __future__ import annotations

import base64
import io
import json
import posixpath
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from zipfile import BadZipFile

from PIL import Image

from core.digest import digest_value
from core.failures import ItemError
from core.serialization import to_json_text
from explore.clips import ClipRow, ShardReader
from explore.filmstrips import FILMSTRIP_VERSION, Filmstrip, make_filmstrip
from explore.markup import escape, format_clock, format_count, format_duration, format_number
from explore.outputs import OutputError
from explore.page_tables import page_blocks
from explore.samples import SCORES, TAGS, load_thumbnails, missed_columns, sample_clips
from storage.store import DamagedError, Store

CLIPS_SHOWN = {"kept": 24, "rejected": 24, "failed": 12}
CARDS_PER_PAGE = 12
_LAYERS = {"image": "image and camera path", "moving": "dynamic masks", "depth": "depth"}
_LAYER_SWITCH = "".join(
    f'<label><input type="radio" name="layer" id="show-{name}"{" checked" * (name == "image")}> {text}</label>'
    for name, text in _LAYERS.items()
)
# A filmstrip decodes its clip.
_MAX_FILMSTRIP_FRAMES = 2000
FILMSTRIPS_FOLDER = "store/ReportFilms"
_UNREADABLE = (OutputError, ItemError, OSError, ValueError, KeyError, TypeError, BadZipFile)
_THUMBNAIL_BOX = (240, 135)
_JPEG_QUALITY = 80
_READERS = 8


def render_clips(output_uri: str, output: Store, counts: Mapping[str, int]) -> str:
    """Cards of at most 60 clips, by status, in pages; kept clips play on hover.

    Args:
      output_uri: folder of a finished run.
      output: the same folder as a store.
      counts: all clips of the run by status.
    """
    parts, reader = [], ShardReader(output_uri)
    with ThreadPoolExecutor(_READERS) as readers:
        for status, clips in sample_clips(output_uri, CLIPS_SHOWN).items():
            if not clips:
                continue
            views = readers.map(lambda clip: _render_view(reader, output, clip), clips)
            cards = [_render_card(c, view) for c, view in zip(clips, views, strict=True)]
            total = counts[status]
            shown = f"{len(clips)} of {format_count(total)}" if total > len(clips) else f"all {total}"
            pages = page_blocks(
                cards, CARDS_PER_PAGE, f"clips-{status}", lambda page: f'<div class="clips">{page}</div>'
            )
            parts.append(
                f'<div class="subhead"><h3><span class="pill {status}">{status}</span></h3>'
                f'<span class="soft">{shown}</span></div>{pages}'
            )
    if not parts:
        return '<p class="soft">No clip was found.</p>'
    switch = f'<div class="switch" role="radiogroup" aria-label="what the clips show">{_LAYER_SWITCH}</div>'
    return switch + "".join(parts)


def describe_span(clip: ClipRow) -> str:
    """Time span of a clip in its source."""
    span = f"{format_clock(clip['start_s'])} to {format_clock(clip['end_s'])}"
    return f"{span} ({format_duration(clip['duration_s'])})"


def describe_boundary(clip: ClipRow) -> str:
    """Kind of the boundary at which the clip's shot begins."""
    confidence = clip["shot_boundary_confidence"]
    suffix = "" if confidence is None else f" {confidence:.2f}"
    return f"{clip['shot_boundary_kind'] or 'unknown boundary'}{suffix}"


def describe_verdict(clip: ClipRow) -> list[str]:
    """Rejection or failure reasons of a clip; empty for a kept one."""
    if clip["status"] == "failed":
        return [f"{clip['failure_class']} in {clip['failure_stage']}: {clip['failure_message']}"]
    return list(clip["rejection_reasons"] or [])


def _render_card(clip: ClipRow, view: str) -> str:
    name = posixpath.basename(clip["source_uri"]) or clip["source_uri"]
    missed = missed_columns(clip)
    scores = "".join(
        f'<div class="{"missed" if column in missed else "met"}"><dt>{label}</dt>'
        f"<dd>{format_number(clip[column])}</dd></div>"
        for column, label in SCORES.items()
    )
    return (
        f'<article>{view}<div class="facts">'
        f'<span class="file" title="{escape(clip["source_uri"])}"><bdi>{escape(name)}</bdi></span>'
        f'<p class="soft">{describe_span(clip)} · {escape(describe_boundary(clip))}<br>'
        f"<code>{escape(clip['clip_id'])}</code></p>{_render_words(clip)}"
        f'<dl class="scores">{scores}</dl>{_render_verdict(clip)}</div></article>'
    )


def _render_words(clip: ClipRow) -> str:
    """Caption, motion sentence and tags, as far as present."""
    texts = [clip[name] for name in ("scene_description", "motion_sentence") if clip[name]]
    words = "".join(f'<p class="words"><bdi>{escape(text)}</bdi></p>' for text in texts)
    tags = [clip[name] for name in TAGS if clip[name] not in (None, "Unknown")]
    return words + (f'<p class="soft">{escape(" · ".join(tags))}</p>' if tags else "")


def _render_view(reader: ShardReader, output: Store, clip: ClipRow) -> str:
    """Filmstrip of a kept clip; sample images of a rejected, failed, long or unreadable one."""
    if clip["shard"] is not None and (clip["clip_num_frames"] or 0) <= _MAX_FILMSTRIP_FRAMES:
        try:
            return _cached_filmstrip(reader, output, clip)
        except _UNREADABLE:
            pass
    images = _render_thumbnails(load_thumbnails(output, clip, _THUMBNAIL_BOX), clip["clip_id"])
    return f'<div class="images">{images}</div>'


def _cached_filmstrip(reader: ShardReader, output: Store, clip: ClipRow) -> str:
    """The clip's filmstrip, cached in the store for later reports."""
    # The shard that holds a clip changes with its neighbors: it is no part of the cache key.
    row = {name: value for name, value in clip.items() if name != "shard"}
    digest = digest_value({"version": FILMSTRIP_VERSION, "clip": row})
    path = posixpath.join(FILMSTRIPS_FOLDER, clip["clip_id"][:2], f"{clip['clip_id']}-{digest}.json")
    with suppress(DamagedError):
        if (known := output.find_sealed(path)) is not None:
            return str(json.loads(known))
    filmstrip = _render_filmstrip(make_filmstrip(reader.read(clip)), clip["clip_id"])
    output.write_sealed(path, to_json_text(filmstrip))
    return filmstrip


def _render_filmstrip(filmstrip: Filmstrip, clip_id: str) -> str:
    """Layers that the style sheet animates along their strips, fitted into a box of 16:9."""
    ratio = filmstrip.size[0] / filmstrip.size[1] / (16 / 9)
    box = f"--n:{filmstrip.frames};width:{100 * min(1.0, ratio):.2f}%;height:{100 * min(1.0, 1 / ratio):.2f}%"
    media = {"image": "jpeg", "depth": "jpeg", "moving": "png"}
    layers = "".join(
        f'<div class="layer {name}" style="background-image:url(data:image/{media[name]};base64,'
        f'{base64.b64encode(strip).decode()})"></div>'
        for name, strip in filmstrip.strips.items()
    )
    return f'<div class="film" role="img" aria-label="clip {escape(clip_id)}"><div style="{box}">{layers}</div></div>'


def _render_verdict(clip: ClipRow) -> str:
    verdict = describe_verdict(clip)
    if not verdict:
        return ""
    if clip["status"] == "rejected":
        pills = "".join(f'<span class="pill rejected">{escape(reason)}</span>' for reason in verdict)
        return f'<div class="reasons">{pills}</div>'
    return f'<p class="soft verdict"><bdi>{escape("; ".join(verdict))}</bdi></p>'


def _render_thumbnails(images: list[Image.Image], clip_id: str) -> str:
    if not images:
        return "<p>no sample image in the store</p>"
    alt = escape(f"sample image of clip {clip_id}")
    return "".join(f'<img src="{_data_uri(image)}" alt="{alt}">' for image in images)


def _data_uri(image: Image.Image) -> str:
    data = io.BytesIO()
    image.save(data, "JPEG", quality=_JPEG_QUALITY, optimize=True)
    return f"data:image/jpeg;base64,{base64.b64encode(data.getvalue()).decode()}"
