"""Contact sheet of a run: kept and rejected clips with sample images, scores and reasons."""

from __future__ import annotations

import io
import posixpath
from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

from core.accounting import Accounting
from explore.clip_cards import describe_boundary, describe_span, describe_verdict
from explore.clips import ClipRow
from explore.markup import escape_controls, format_count, format_number
from explore.outputs import read_accounting
from explore.samples import SCORES, load_thumbnails, missed_columns, sample_clips
from storage.store import Store
from storage.uris import normalize_uri

_THUMBNAIL = (280, 158)
_GAP, _MARGIN, _GUTTER = 4, 40, 44
_COLUMN = 3 * _THUMBNAIL[0] + 2 * _GAP
_HEADER = 104
_CARD = _THUMBNAIL[1] + 130
_WIDTH = 2 * _MARGIN + 2 * _COLUMN + _GUTTER
_PAGE, _EMPTY, _TEXT, _SOFT = "#fbfbfa", "#e4e4e0", "#1c1d1f", "#6a6d72"
_COLORS = {"kept": "#0f8b78", "rejected": "#a8650c"}
_TITLE_SIZE, _TEXT_SIZE = 36, 24

_Font = ImageFont.ImageFont | ImageFont.FreeTypeFont


def make_contact_sheet(output_uri: str, path: str, max_clips: int = 12) -> None:
    """Writes a PNG with kept clips on the left and rejected ones on the right.

    Equal tables and sample images give equal bytes. Where all clips have one verdict they take both sides.

    Args:
      output_uri: folder of a finished run.
      path: the PNG to write, a local path or any fsspec URI.
      max_clips: how many clips are shown at most, at least 2.

    Raises:
      OutputError: if the folder is no finished run.
      ValueError: if `max_clips` is below 2.
    """
    if max_clips < 2:
        raise ValueError(f"max_clips must be at least 2, one kept and one rejected, got {max_clips}")
    output_uri = normalize_uri(output_uri)
    output = Store(output_uri)
    accounting = read_accounting(output_uri)
    per_status = max_clips // 2 if accounting.clips_kept and accounting.clips_rejected else max_clips
    columns = _split_columns(sample_clips(output_uri, dict.fromkeys(_COLORS, per_status)))
    height = _HEADER + _CARD * max(1, *(len(column) for column in columns)) + _MARGIN // 2
    sheet = Image.new("RGB", (_WIDTH, height), _PAGE)
    draw = ImageDraw.Draw(sheet)
    _draw_titles(draw, accounting, columns)
    for side, column in enumerate(columns):
        for row, clip in enumerate(column):
            _draw_clip(sheet, draw, output, clip, (_column_x(side), _HEADER + row * _CARD))
    folder, name = posixpath.split(normalize_uri(path))
    data = io.BytesIO()
    sheet.save(data, "PNG", optimize=True)
    Store(folder).write_bytes(name, data.getvalue(), "image/png")


def _split_columns(clips: dict[str, list[ClipRow]]) -> tuple[list[ClipRow], list[ClipRow]]:
    if clips["kept"] and clips["rejected"]:
        return clips["kept"], clips["rejected"]
    only = clips["kept"] or clips["rejected"]
    middle = -(-len(only) // 2)
    return only[:middle], only[middle:]


def _column_x(side: int) -> int:
    return _MARGIN + side * (_COLUMN + _GUTTER)


def _draw_titles(draw: ImageDraw.ImageDraw, accounting: Accounting, columns: Sequence[list[ClipRow]]) -> None:
    totals = {"kept": accounting.clips_kept, "rejected": accounting.clips_rejected}
    shown = [next((clip["status"] for clip in column), None) for column in columns]
    if shown[0] is None:
        draw.text((_MARGIN, 36), "no clip was kept or rejected", fill=_SOFT, font=_font(_TITLE_SIZE))
    for side, status in enumerate(shown):
        if status is None or (side and status == shown[0]):
            continue
        number = format_count(totals[status]).replace("\u2009", " ")
        font = _font(_TITLE_SIZE)
        draw.text((_column_x(side), 36), f"{number} {status}", fill=_COLORS[status], font=font)


def _draw_clip(
    sheet: Image.Image, draw: ImageDraw.ImageDraw, output: Store, clip: ClipRow, corner: tuple[int, int]
) -> None:
    x, y = corner
    for column in range(3):
        left = x + column * (_THUMBNAIL[0] + _GAP)
        draw.rectangle((left, y, left + _THUMBNAIL[0] - 1, y + _THUMBNAIL[1] - 1), fill=_EMPTY)
    for column, image in enumerate(load_thumbnails(output, clip, _THUMBNAIL)):
        left = x + column * (_THUMBNAIL[0] + _GAP) + (_THUMBNAIL[0] - image.width) // 2
        sheet.paste(image, (left, y + (_THUMBNAIL[1] - image.height) // 2))
    y += _THUMBNAIL[1] + 8
    facts = f"{describe_span(clip)}   {describe_boundary(clip)}"
    font = _font(_TEXT_SIZE)
    facts_width = draw.textlength(facts, font)
    name = escape_controls(posixpath.basename(clip["source_uri"]) or clip["source_uri"])
    draw.text((x, y), _elide(draw, name, font, _COLUMN - facts_width - 20), fill=_TEXT, font=font)
    draw.text((x + _COLUMN - facts_width, y), facts, fill=_SOFT, font=font)
    _draw_scores(draw, clip, (x, y + 32), font)
    verdict = escape_controls(", ".join(describe_verdict(clip)))
    draw.text((x, y + 64), _elide(draw, verdict, font, _COLUMN), fill=_COLORS["rejected"], font=font)


def _draw_scores(draw: ImageDraw.ImageDraw, clip: ClipRow, corner: tuple[float, float], font: _Font) -> None:
    x, y = corner
    missed = missed_columns(clip)
    for column, label in SCORES.items():
        if clip[column] is None:
            continue
        value = format_number(clip[column])
        draw.text((x, y), label, fill=_SOFT, font=font)
        x += draw.textlength(f"{label} ", font)
        draw.text((x, y), value, fill=_COLORS["rejected"] if column in missed else _TEXT, font=font)
        x += draw.textlength(value, font) + 22


def _elide(draw: ImageDraw.ImageDraw, text: str, font: _Font, width: float) -> str:
    """`text`, elided in the middle where it is wider than `width` pixels."""
    if draw.textlength(text, font) <= width:
        return text
    for length in range(min(len(text), 200) - 1, 0, -1):
        tail = length // 2
        shorter = f"{text[: length - tail]}...{text[len(text) - tail :]}"
        if draw.textlength(shorter, font) <= width:
            return shorter
    return "..."


def _font(size: int) -> _Font:
    """The font that comes with Pillow, so that a sheet looks the same everywhere."""
    return ImageFont.load_default(size)
