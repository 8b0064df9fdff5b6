"""Seeded damage to the files of a run, by kind of file."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

_IDS = re.compile(r"[0-9a-f]{12,}|\d{5,}")


def files_by_kind(output: Path) -> dict[str, list[Path]]:
    """Files below a run's folder by kind: the path without keys and numbers."""
    kinds: dict[str, list[Path]] = {}
    for path in sorted(output.rglob("*")):
        if path.is_file():
            name = path.relative_to(output)
            parts = [name.parts[0], *name.parts[1:2]] if name.parts[0] == "store" else name.parts[:1]
            kind = "/".join([*parts, _IDS.sub("*", name.name)]) if len(name.parts) > 1 else name.name
            kinds.setdefault(kind, []).append(path)
    return kinds


def _flip(path: Path, other: Path, rng: random.Random) -> None:
    data = bytearray(path.read_bytes())
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    path.write_bytes(data)


def _truncate(path: Path, other: Path, rng: random.Random) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: rng.randrange(1, len(data))])


def _empty(path: Path, other: Path, rng: random.Random) -> None:
    path.write_bytes(b"")


def _delete(path: Path, other: Path, rng: random.Random) -> None:
    path.unlink()


def _swap(path: Path, other: Path, rng: random.Random) -> None:
    mine, others = path.read_bytes(), other.read_bytes()
    path.write_bytes(others)
    other.write_bytes(mine)


DAMAGES: dict[str, Callable[[Path, Path, random.Random], None]] = {
    "flip a bit": _flip,
    "truncate": _truncate,
    "empty": _empty,
    "delete": _delete,
    "swap two": _swap,
}


@dataclass(frozen=True, slots=True)
class Fault:
    """One damage to one file (two, if they are swapped)."""

    kind: str
    damage: str
    seed: int

    def inject(self, output: Path) -> str:
        """Damages a file of the kind; returns its path below the output folder."""
        rng = random.Random(self.seed)
        files = [path for path in files_by_kind(output)[self.kind] if path.stat().st_size > 1]
        path = rng.choice(files)
        others = [p for p in files if p.read_bytes() != path.read_bytes()]
        # A file alone of its kind is swapped with one of another.
        others = others or [p for p in sorted(output.rglob("*")) if p.is_file() and p != path and p.stat().st_size > 1]
        DAMAGES[self.damage](path, rng.choice(others), rng)
        return str(path.relative_to(output))


def plan_faults(output: Path, seed: int, count: int | None = None) -> list[Fault]:
    """Every kind of file with every damage, in an order by the seed; cycled, or cut off, to `count` if given."""
    rng = random.Random(seed)
    pairs = [(kind, damage) for kind in files_by_kind(output) for damage in DAMAGES]
    faults: list[Fault] = []
    while len(faults) < (len(pairs) if count is None else count):
        rng.shuffle(pairs)
        faults += [Fault(kind, damage, rng.getrandbits(32)) for kind, damage in pairs]
    return faults[:count]
