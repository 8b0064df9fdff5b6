"""Formats values for people: HTML escapes, visible control characters, rounded numbers."""

from __future__ import annotations

import html
import re

# Control characters, bidirectional overrides and invisible marks let a file name spoof what a page shows.
_HIDDEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff\ufff9-\uffff]"
)
_SUFFIXES = ((1e9, 1e9, "G"), (1e6, 1e6, "M"), (1e4, 1e3, "k"))  # from, factor, name


def escape_controls(text: object) -> str:
    """`text` with control, invisible and bidirectional characters as escapes of their code points."""
    return _HIDDEN.sub(lambda match: f"\\u{ord(match[0]):04x}", str(text))


def escape(text: object) -> str:
    """Any value as safe HTML text, fit for attributes in double quotes too."""
    return html.escape(escape_controls(text), quote=True)


def format_count(count: int) -> str:
    """A count with thin spaces between thousands."""
    return f"{count:,}".replace(",", "\u2009")


def format_number(value: float | None) -> str:
    """A number at two to four significant digits; a dash for None."""
    if value is None:
        return "–"
    if value != value:
        return "not a number"
    size = abs(value)
    for least, factor, suffix in _SUFFIXES:
        if size >= least:
            return f"{value / factor:.3g} {suffix}"
    if size >= 100:
        return f"{value:.0f}"
    if size >= 1 or size == 0:
        return f"{value:.{1 if size >= 10 else 2}f}".rstrip("0").rstrip(".")
    return f"{value:.2g}"


def format_share(part: float, whole: float) -> str:
    """A share in percent; empty without a whole.

    0 % and 100 % appear only where they are exact.
    """
    if not whole:
        return ""
    percent = 100 * part / whole
    if 0 < percent < 1:
        return "<1 %"
    if 99 < percent < 100:
        return ">99 %"
    return f"{percent:.0f} %"


def format_clock(seconds: float) -> str:
    """A timestamp as `m:ss.s` or `h:mm:ss.s`."""
    tenths = round(abs(seconds) * 10)
    minutes, rest = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    sign = "-" if seconds < 0 and tenths else ""
    clock = f"{hours}:{minutes:02d}" if hours else f"{minutes}"
    return f"{sign}{clock}:{rest // 10:02d}.{rest % 10}"


def format_duration(seconds: float | None) -> str:
    """A duration in its two largest units; a dash for None."""
    if seconds is None:
        return "–"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    hours = whole // 3600
    return f"{format_count(hours)} h {whole % 3600 // 60} min"
