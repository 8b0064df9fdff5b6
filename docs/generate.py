"""Generates docs/configuration.md and docs/outputs.md from the code; `--check` fails when they are stale."""

from __future__ import annotations

import argparse
import json
import re
import sys
import typing
from enum import Enum
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from beam_pipeline.config import PipelineConfig, profiles
from storage.shard_members import ARRAY_MEMBERS, JSON_MEMBERS
from storage.tables import ARROW_TYPES, CONVENTIONS, table_specs

DOCS = Path(__file__).resolve().parent
SAMPLE_INTRODUCTION = """\
## Files of a sample

All samples hold the same files, `<clip id>.<file>`: `mp4` (the clip), `json` (its row of the table `clips` and the
conventions) and those below.

- A part that a clip lacks is an array of size 0, or `{}`; `pose_ok`, `depth_reason`, `masks_reason` and
  `caption_reason` say why.
- Such an array is (0,), (1, 0) or (1, 1, 0), since readers that infer types from nested lists find none in (0, 7).
- In `json` and `caption.json` a null or an empty list is left out: `row.get("pose_reason")`.

`n` is the number of annotated frames, `num_annotated_frames`; `h` and `w` are the size of the maps, which cover the
whole image of the clip."""
READ_SAMPLES = """\
Ten lines that read them:

```python
import io, json
import numpy as np
import webdataset as wds

for sample in wds.WebDataset("OUT/shards/clips-00000-of-00001.tar", shardshuffle=False):
    row = json.loads(sample["json"])
    poses, intrinsics = (np.load(io.BytesIO(sample[f"{name}.npy"])) for name in ("poses", "intrinsics"))
    depth = np.load(io.BytesIO(sample["depth.npz"]))
    z = np.where(depth["valid"], depth["depth"], np.nan)
    print(row["clip_id"], row.get("pose_reason", "has poses"), poses.shape, intrinsics.shape, z.shape)
```

The masks of a sample, (n, h, w), true = moving:

```python
import io
import numpy as np
import webdataset as wds

sample = next(iter(wds.WebDataset("OUT/shards/clips-00000-of-00001.tar", shardshuffle=False)))
with np.load(io.BytesIO(sample["dyn_masks.npz"])) as file:
    masks, indptr = np.zeros(file["shape"], bool), file["indptr"]
    rows = np.repeat(np.arange(len(indptr) - 1), np.diff(indptr))
    masks.reshape(-1, masks.shape[2])[rows, file["indices"]] = True
```

Hugging Face `datasets` opens the shards, streaming too. It infers the type of each file from the first five samples;
keys of JSON that none of them has are dropped without notice. State the types of JSON files to keep them all:

```python
from glob import glob
from datasets import Json, Video, load_dataset

files = {"data_files": sorted(glob("OUT/shards/*.tar")), "split": "train"}
inferred = load_dataset("webdataset", **files, streaming=True).features
stated = {name: Json() for name in ("json", "instructions.json", "caption.json")}
features = type(inferred)({**inferred, **stated, "mp4": Video(decode=False)})
clips = load_dataset("webdataset", **files, features=features)
print(clips[0]["json"]["clip_id"], len(clips[0]["mp4"]["bytes"]))
```

`Video()` needs torchcodec to decode frames. DuckDB, pandas and Polars read the tables (`clips.parquet/*.parquet`);
`clip_id` is a sample's `__key__`. MosaicML's loader reads its own format (MDS) only, and torchdata no tar files:
convert, or give torchdata the pipeline of `webdataset`."""


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


def _convention(name: str, text: str) -> list[str]:
    """List item of a convention; its sentences are a list where there are many."""
    sentences = re.split(r"(?<=\.) (?=[A-Z]|\w+\.npy)", text)
    if len(sentences) < 4:
        return [f"- **{name}**: {text}"]
    return [f"- **{name}**:", *(f"  - {sentence}" for sentence in sentences)]


def outputs_page() -> str:
    """The reference of all tables and conventions."""
    lines = [
        "# Outputs and conventions",
        "",
        "Generated from the code by `make docs`; do not edit.",
        "",
        "```",
        "OUTPUT/",
        "  shards/clips-00000-of-00042.tar   WebDataset: a sample per kept clip, see the files of a sample",
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
        *(line for name, text in CONVENTIONS.items() for line in _convention(name, text)),
        "",
    ]
    lines += _sample_files()
    for name, spec in table_specs({}).items():
        lines += [f"## `{name}`", "", "| column | type | meaning | stage |", "|---|---|---|---|"]
        lines += [f"| `{c.name}` | {ARROW_TYPES[c.type]} | {_cell(c.description)} | {c.stage} |" for c in spec.columns]
        if name in ("clips", "videos"):
            lines.append("| *any other* | | columns of the [manifest](storage.md#manifests) | ListVideos |")
        lines.append("")
    return "\n".join(lines)


def _sample_files() -> list[str]:
    """The reference of a sample's files."""
    lines = SAMPLE_INTRODUCTION.splitlines()
    lines += ["", "| file | array | dtype | shape | meaning | missing values |", "|---|---|---|---|---|---|"]
    for member, arrays in ARRAY_MEMBERS.items():
        for key, spec in arrays.items():
            shape = f"({', '.join(spec.shape)}{',' if len(spec.shape) == 1 else ''})"
            name = f"`{key}`" if key else ""
            lines.append(f"| `{member}` | {name} | {spec.dtype} | {shape} | {_cell(spec.meaning)} | {spec.missing} |")
    lines += [f"| `{member}` | | JSON | | {_cell(meaning)} | `{{}}` |" for member, meaning in JSON_MEMBERS.items()]
    return [*lines, "", *READ_SAMPLES.splitlines(), ""]


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
