"""Exports the clip table as CSV, with the meaning of its columns."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Sequence
from typing import Any

from core.schema import CLIP_COLUMNS
from explore.clips import Clip, ClipRow
from storage.store import Store
from storage.tables import ARROW_TYPES, CONVENTIONS


class CsvExport:
    """Writes `clips.csv`, `columns.csv` and `conventions.json`.

    In CSV, lists are JSON and null is empty.
    """

    def __init__(self, target: Store) -> None:
        self._target = target
        self._rows: list[ClipRow] = []

    def reason_to_skip(self, clip: Clip) -> str | None:
        """None: every clip has a row."""
        return None

    def add(self, clip: Clip) -> None:
        """Collects the row of one clip."""
        self._rows.append(clip.row)

    def finish(self) -> None:
        """Writes the table."""
        names = list(self._rows[0])
        meanings = [(column.name, str(ARROW_TYPES[column.type]), column.description) for column in CLIP_COLUMNS]
        files = {
            "clips.csv": csv_text(names, ([row[name] for name in names] for row in self._rows)),
            "columns.csv": csv_text(("column", "type", "meaning"), meanings),
            "conventions.json": json.dumps(CONVENTIONS, indent=2) + "\n",
        }
        for name, text in files.items():
            self._target.write_bytes(name, text.encode(), "text/csv")


def csv_text(names: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """CSV text of rows: lists as JSON, empty for None."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(names)
    for row in rows:
        writer.writerow([json.dumps(value) if isinstance(value, list) else value for value in row])
    return text.getvalue()
