"""Generates docs/configuration.md and docs/outputs.md from the code; `--check` fails when they are stale."""

from __future__ import annotations

import argparse
import json
import sys
import typing
from enum import Enum
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from beam_pipeline.config import PipelineConfig, profiles
from storage.tables import ARROW_TYPES, CONVENTIONS, table_specs

DOCS = Path(__file__).resolve().parent


def configuration_page() -> str:
    """The reference of all settings, from the pydantic models."""
    lines = [
        "# Configuration",
        "",
        "Generated from the code by `make docs`; do not edit.",
        "",
        "A profile or a YAML file (`--config`) is laid over the defaults below, then each `--set key.path=value`.",
        "Unknown keys are refused. `python launcher.py config show` prints the result, `config validate` checks",
        f"it. Profiles: {', '.join(f'`{name}`' for name in profiles())} (folder `configs/`).",
        "",
    ]
    for name, field in PipelineConfig.model_fields.items():
        lines += [f"## `{name}`", "", field.description or "", ""]
        lines += ["| key | type | default | meaning |", "|---|---|---|---|"]
        lines += _rows(name, _model_of(field))
        lines.append("")
    return "\n".join(lines)


def _model_of(field: FieldInfo) -> type[BaseModel]:
    annotation = field.annotation
    if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
        raise TypeError(f"every top-level setting is a group of settings, got {annotation!r}")
    return annotation


def _rows(prefix: str, model: type[BaseModel]) -> list[str]:
    rows: list[str] = []
    for name, field in model.model_fields.items():
        key = f"{prefix}.{name}"
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            rows += _rows(key, field.annotation)
            continue
        default = field.get_default(call_default_factory=True)
        rows.append(f"| `{key}` | {_type_name(field)} | `{_json(default)}` | {_cell(field.description or '')} |")
    return rows or [f"| (`{prefix}` has nothing to set) | | | |"]


def _type_name(field: FieldInfo) -> str:
    annotation: Any = field.annotation
    if typing.get_origin(annotation) is typing.Literal:
        text = " \\| ".join(f"`{value}`" for value in typing.get_args(annotation))
    elif isinstance(annotation, type) and issubclass(annotation, Enum):
        text = " \\| ".join(f"`{member.value}`" for member in annotation)
    else:
        name = annotation.__name__ if isinstance(annotation, type) else str(annotation)
        text = name.replace("core.thresholds.", "").replace("|", "\\|")
    bounds = [str(m) for m in field.metadata if type(m).__name__ in ("Ge", "Gt", "Le", "Lt")]
    words = {"Ge(ge=": "≥ ", "Gt(gt=": "> ", "Le(le=": "≤ ", "Lt(lt=": "< "}
    for bound in bounds:
        for start, word in words.items():
            if bound.startswith(start):
                text += f", {word}{bound[len(start) : -1]}"
    return text


def _json(value: Any) -> str:
    if isinstance(value, dict):
        value = {k: v.model_dump(exclude_none=True) if isinstance(v, BaseModel) else v for k, v in value.items()}
    return json.dumps(value, default=lambda v: v.value if isinstance(v, Enum) else str(v))


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def outputs_page() -> str:
    """The reference of all tables and conventions."""
    lines = [
        "# Outputs and conventions",
        "",
        "Generated from the code by `make docs`; do not edit.",
        "",
        "```",
        "OUTPUT/",
        "  shards/clips-00000-of-00042.tar   WebDataset: <clip id>.mp4 and <clip id>.json per kept clip",
        "  clips.parquet/                    one row per candidate clip, kept or not",
        "  videos.parquet/                   one row per input video",
        "  shots.parquet/                    one row per detected shot",
        "  failures.parquet/                 one row per failure",
        "  manifest.json                     every shard and table file with its count, size and SHA-256:",
        "                                    readers trust this list, not the folders",
        "  run.json                          resolved configuration, versions, models, counts, timing",
        "  report/index.html                 what happened, as one page",
        "  store/                            results of single steps, for resuming and for the next run;",
        "                                    may be deleted when the data set is final",
        "```",
        "",
        "## Conventions",
        "",
        "They are also in the metadata of every table (key `conventions`) and in every clip's JSON.",
        "",
        *(f"- **{name}**: {text}" for name, text in CONVENTIONS.items()),
        "",
    ]
    for name, spec in table_specs({}).items():
        lines += [f"## `{name}`", "", "| column | type | meaning | stage |", "|---|---|---|---|"]
        lines += [f"| `{c.name}` | {ARROW_TYPES[c.type]} | {_cell(c.description)} | {c.stage} |" for c in spec.columns]
        if name in ("clips", "videos"):
            lines.append("| *any other* | | columns of the [manifest](storage.md#manifests) | ListVideos |")
        lines.append("")
    return "\n".join(lines)


def main() -> int:
    """Writes the pages, or with `--check` compares them with what is on disk."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing, fail when a page is stale")
    check = parser.parse_args().check
    stale = []
    for name, text in {"configuration.md": configuration_page(), "outputs.md": outputs_page()}.items():
        path = DOCS / name
        if check and (not path.exists() or path.read_text(encoding="utf-8") != text):
            stale.append(name)
        elif not check:
            path.write_text(text, encoding="utf-8")
    if stale:
        print(f"stale: {', '.join(stale)}: run `make docs`", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
