"""Imports point down only, between rooms and floors of `models`, without cycles."""

from __future__ import annotations

import ast
from graphlib import TopologicalSorter

from tests.support.paths import ROOT

# Rooms with those that each may import, and floors of `models` from the ground up: see docs/design.md.
ROOMS: dict[str, set[str]] = {"native": set(), "core": {"native"}, "storage": {"core"}, "configs": set()}
ROOMS["media"] = {"storage", "core", "native"}
ROOMS["explore"] = {"media", "storage", "core"}
ROOMS["models"] = {"media", *ROOMS["media"]}
ROOMS["transforms"] = {"models", *ROOMS["models"]}
ROOMS["beam_pipeline"] = {"configs", "transforms", "explore", *ROOMS["transforms"]}
ROOMS["launcher"] = {"beam_pipeline", *ROOMS["beam_pipeline"]}
FLOORS = (
    {"registry"},
    {"networks"},
    {"flow", "video_analysis", "text", "aesthetic", "duplicates"},
    {"sfm"},
    {"geometry"},
    {"depth", "captions"},
    {"slam", "segmentation"},
    {"annotation"},
)
HEIGHT = {name: height for height, names in enumerate(FLOORS) for name in names}
NOT_OURS_TO_IMPORT = {"tests", "benchmarks", "docs", "scripts", "examples"}


def _imports(tree: ast.Module) -> set[str]:
    """Modules that a file imports anywhere, with the names that it takes from them."""
    nodes = list(ast.walk(tree))
    plain = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    return plain | {f"{n.module}.{a.name}" for n in nodes if isinstance(n, ast.ImportFrom) for a in n.names}


PATHS = [ROOT / "launcher.py", *(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))]
NAMES = {p: ".".join(p.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for p in sorted(PATHS)}
IMPORTS = {name: _imports(ast.parse(path.read_text(encoding="utf-8"))) for path, name in NAMES.items()}
FILES = {n: {m if m in IMPORTS else m.rpartition(".")[0] for m in found} & set(IMPORTS) for n, found in IMPORTS.items()}
PAIRS = [(name, other) for name, found in sorted(IMPORTS.items()) for other in sorted(found)]


def test_rooms_import_only_rooms_below():
    pairs = [(a, b) for a, b in PAIRS if b.partition(".")[0] in (ROOMS.keys() | NOT_OURS_TO_IMPORT)]
    rooms = [(a, b, a.partition(".")[0], b.partition(".")[0]) for a, b in pairs]
    assert [(a, b) for a, b, room, other in rooms if other != room and other not in ROOMS[room]] == []


def test_floors_of_models_import_only_floors_below():
    pairs = [(a, b) for a, b in PAIRS if a.startswith("models.") and b.startswith("models.")]
    floors = [(a, b, a.split(".")[1], b.split(".")[1]) for a, b in pairs]
    assert [(a, b) for a, b, floor, other in floors if other != floor and HEIGHT[other] >= HEIGHT[floor]] == []


def test_beam_is_imported_in_transforms_and_above_only():
    importers = {a.partition(".")[0] for a, b in PAIRS if b.partition(".")[0] == "apache_beam"}
    assert importers <= {"transforms", "beam_pipeline"}


def test_no_files_import_each_other_in_a_circle():
    TopologicalSorter({name: found - {name} for name, found in FILES.items()}).prepare()
