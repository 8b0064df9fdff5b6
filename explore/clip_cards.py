"""Clips to look at, as HTML: pictures, where they come from, scores and verdict."""

from __future__ import annotations

import base64
import io
import posixpath
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from zipfile import BadZipFile

from PIL import Image

from core.digest import digest_value
from core.failures import ItemError
from explore.clips import ClipRow, ShardReader
from explore.filmstrips import FILM_VERSION, Film, make_filmstrip
from explore.markup import escape, format_clock, format_count, format_duration, format_number
from explore.outputs import OutputError
from explore.page_tables import page_blocks
from explore.samples import TAG_COLUMNS, load_pictures, missed_columns, pick_clips
from storage.store import Store

CLIPS_SHOWN = {"kept": 24, "rejected": 24, "failed": 12}
SCORE_LABELS = {
    "motion_score": "motion",
    "motion_normalized": "normalized",
    "luminance_score": "luminance",
    "ocr_score": "text",
    "aesthetic_score": "aesthetic",
}
CARDS_PER_PAGE = 12
_LAYERS = {"picture": "picture and path", "moving": "moving things", "depth": "depth"}
_LAYER_SWITCH = "".join(
    f'<label><input type="radio" name="layer" id="show-{name}"{" checked" * (name == "picture")}> {text}</label>'
    for name, text in _LAYERS.items()
)
# A film takes the decoding of its clip.
_LONGEST_FILM = 2000
FILMS_FOLDER = "store/ReportFilms"
_UNREADABLE = (OutputError, ItemError, OSError, ValueError, KeyError, TypeError, BadZipFile)
_PICTURE_BOX = (240, 135)
_JPEG_QUALITY = 80
_READERS = 8


def render_clips(output_uri: str, output: Store, counts: Mapping[str, int]) -> str:
    """Cards of at most 60 clips, by status, in pages; those of kept clips play when pointed at.

    Args:
      output_uri: folder of a finished run.
      output: the same as a store, for the sample images.
      counts: all clips of the run by status.
    """
    parts, reader = [], ShardReader(output_uri)
    with ThreadPoolExecutor(_READERS) as readers:
        for status, clips in pick_clips(output_uri, CLIPS_SHOWN).items():
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


def _wrap_cards(cards: str) -> str:
    return f'<div class="clips">{cards}</div>'


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


def _render_card(clip: ClipRow, view: str) -> str:
    name = posixpath.basename(clip["source_uri"]) or clip["source_uri"]
    missed = missed_columns(clip)
    scores = "".join(
        f'<div class="{"missed" if column in missed else "met"}"><dt>{label}</dt>'
        f"<dd>{format_number(clip[column])}</dd></div>"
        for column, label in SCORE_LABELS.items()
    )
    return (
        f'<article>{view}<div class="facts">'
        f'<span class="file" title="{escape(clip["source_uri"])}"><bdi>{escape(name)}</bdi></span>'
        f'<p class="soft">{describe_span(clip)} · {escape(describe_boundary(clip))}<br>'
        f"<code>{escape(clip['clip_id'])}</code></p>{_render_words(clip)}"
        f'<dl class="scores">{scores}</dl>{_render_verdict(clip)}</div></article>'
    )


def _render_words(clip: ClipRow) -> str:
    """Motion, caption and tags, where there are any."""
    texts = [clip[name] for name in ("scene_description", "motion_sentence") if clip[name]]
    words = "".join(f'<p class="words"><bdi>{escape(text)}</bdi></p>' for text in texts)
    tags = [clip[name] for name in TAG_COLUMNS if clip[name] not in (None, "Unknown")]
    return words + (f'<p class="soft">{escape(" · ".join(tags))}</p>' if tags else "")


def _render_view(reader: ShardReader, output: Store, clip: ClipRow) -> str:
    """A film strip of a kept clip; sample images of any other, of a long one, or where its shard cannot be read."""
    if clip["shard"] is not None and (clip["clip_num_frames"] or 0) <= _LONGEST_FILM:
        try:
            return _recall_film(reader, output, clip)
        except _UNREADABLE:
            pass
    pictured = _render_pictures(load_pictures(output, clip, _PICTURE_BOX), clip["clip_id"])
    return f'<div class="pictures">{pictured}</div>'


def _recall_film(reader: ShardReader, output: Store, clip: ClipRow) -> str:
    """The clip's film, from the store where an earlier report left it: a report of the same clips decodes nothing."""
    # Which shard holds a clip says nothing of the clip, and changes with its neighbors.
    row = {name: value for name, value in clip.items() if name != "shard"}
    digest = digest_value({"version": FILM_VERSION, "clip": row})
    path = posixpath.join(FILMS_FOLDER, clip["clip_id"][:2], f"{clip['clip_id']}-{digest}.html")
    if output.exists(path):
        return output.read_bytes(path).decode()
    film = _render_film(make_filmstrip(reader.read(clip)), clip["clip_id"])
    output.write_bytes(path, film.encode(), "text/html")
    return film


def _render_film(film: Film, clip_id: str) -> str:
    """Layers that a style sheet moves along their strips; they fill a frame of 16:9 as far as their shape allows."""
    ratio = film.size[0] / film.size[1] / (16 / 9)
    box = f"--n:{film.frames};width:{100 * min(1.0, ratio):.2f}%;height:{100 * min(1.0, 1 / ratio):.2f}%"
    media = {"picture": "jpeg", "depth": "jpeg", "moving": "png"}
    layers = "".join(
        f'<div class="layer {name}" style="background-image:url(data:image/{media[name]};base64,'
        f'{base64.b64encode(strip).decode()})"></div>'
        for name, strip in film.strips.items()
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


def _render_pictures(pictures: list[Image.Image], clip_id: str) -> str:
    if not pictures:
        return "<p>no sample image in the store</p>"
    alt = escape(f"sample image of clip {clip_id}")
    return "".join(f'<img src="{_data_uri(picture)}" alt="{alt}">' for picture in pictures)


def _data_uri(picture: Image.Image) -> str:
    data = io.BytesIO()
    picture.save(data, "JPEG", quality=_JPEG_QUALITY, optimize=True)
    return f"data:image/jpeg;base64,{base64.b64encode(data.getvalue()).decode()}"
