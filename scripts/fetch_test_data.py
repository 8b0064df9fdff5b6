"""Downloads the real test videos and sequences that tests and benchmarks use, by `scripts/test_data.tsv`.

    python -m scripts.fetch_test_data                 # into $SPATIALBEAM_TEST_DATA, by default test_data/
    python -m scripts.fetch_test_data --list          # sources and licenses; downloads nothing

The manifest pins each file's repository, path, commit and SHA-256. Poses and intrinsics of RealEstate10K are converted
from its own files. Other excerpts and conversions are on no public host as one file: these are reported with how they
were made, and what needs them is skipped.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import requests

from native import se3

ROOT = Path(__file__).resolve().parents[1]
MANIFEST = Path(__file__).with_name("test_data.tsv")
HOST = "https://raw.githubusercontent.com"
TIMEOUT_S = 60
RE10K_SIZE, RE10K_FPS = (384, 256), 8
TUM_HEADER = (
    "# t tx ty tz qx qy qz qw  (camera-to-world, OpenCV axes: x right, y down, z forward); "
    "line k = frame k of video.mp4, t = k/fps"
)
_BESIDE = ROOT.parent / "shared" / "data"
DATA = Path(os.environ.get("SPATIALBEAM_TEST_DATA") or (_BESIDE if _BESIDE.is_dir() else ROOT / "test_data"))
"""Folder of the test data. Tests and benchmarks take it from here."""
NO_DATA = f"no test data at {DATA}: `python -m scripts.fetch_test_data` gets it, or set SPATIALBEAM_TEST_DATA"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One file or folder (ends with `/`) of the test data.

    Without a path it has no public address.

    `made_from` names the RealEstate10K camera file that poses or intrinsics are converted from.
    """

    file: str
    repository: str
    path: str
    commit: str
    made_from: str
    first_bytes: int | None
    sha256: str
    license: str
    note: str

    def address(self, host: str) -> str:
        """Returns the HTTPS address of the file at its commit."""
        return f"{host}/{self.repository}/{self.commit}/{self.path}"


def read_manifest(path: Path = MANIFEST) -> Iterator[Entry]:
    """Yields the entries of a manifest."""
    with path.open(encoding="utf-8", newline="") as lines:
        for row in csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE):
            first_bytes = int(row.pop("first_bytes") or 0) or None
            yield Entry(first_bytes=first_bytes, **row)


def digest(path: Path) -> str:
    """Returns the SHA-256 of a file or folder.

    Of a folder, that of the lines "name sha256" of its files.
    """
    if path.is_dir():
        lines = "".join(f"{file.name} {digest(file)}\n" for file in sorted(path.iterdir()))
        return hashlib.sha256(lines.encode()).hexdigest()
    return hashlib.sha256(path.read_bytes()).hexdigest()


def fetch(entry: Entry, target: Path, host: str) -> None:
    """Downloads one entry and stores it if its checksum matches.

    Raises:
      OSError: if the host does not serve the file (`requests` derives its errors from it) or the disk refuses it.
      ValueError: if the checksum is wrong; nothing is stored.
    """
    response = requests.get(entry.address(host), timeout=TIMEOUT_S)
    response.raise_for_status()
    store(entry, response.content[: entry.first_bytes], target)


def store(entry: Entry, content: bytes, target: Path) -> None:
    """Writes the content of an entry; raises ValueError if its checksum is wrong."""
    found = hashlib.sha256(content).hexdigest()
    if found != entry.sha256:
        raise ValueError(f"has SHA-256 {found}, expected {entry.sha256}")
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f"{target.name}.partial")
    partial.write_bytes(content)
    partial.replace(target)


def convert_realestate10k(cameras: str, name: str) -> str:
    """Returns `poses.tum` or `intrinsics.txt` from a RealEstate10K camera file.

    Its lines hold timestamp, fx fy cx cy by image size, two zeros and the (3, 4) world-to-camera matrix by rows.
    """
    rows = np.array([line.split() for line in cameras.splitlines()[1:] if line], np.float64)
    if name == "intrinsics.txt":
        fx, fy, cx, cy = (float(v) for v in rows[0, 1:5])
        width, height = RE10K_SIZE
        values = f"{fx * width} {fy * height} {cx * width} {cy * height} {width} {height}"
        return f"# fx fy cx cy width height ; then OpenCV distortion k1 k2 p1 p2 k3\n{values}\n0 0 0 0 0\n"
    last_row = np.broadcast_to([[[0.0, 0.0, 0.0, 1.0]]], (len(rows), 1, 4))
    world_from_cam = np.linalg.inv(np.concatenate([rows[:, 7:].reshape(-1, 3, 4), last_row], axis=1))
    u, _, vt = np.linalg.svd(world_from_cam[:, :3, :3])  # printed digits leave rotations slightly non-orthogonal
    world_from_cam[:, :3, :3] = u @ vt
    poses = se3.from_matrix(world_from_cam)
    lines = (f"{k / RE10K_FPS:.6f} " + " ".join(f"{v:.9f}" for v in pose) for k, pose in enumerate(poses))
    return "\n".join([TUM_HEADER, *lines, ""])


def fetch_all(entries: Sequence[Entry], folder: Path, host: str) -> int:
    """Fetches what is missing and prints one line an entry.

    Returns 1 if a file could not be fetched, else 0.
    """
    unpublished: list[str] = []
    failures: list[str] = []
    for entry in sorted(entries, key=lambda entry: bool(entry.made_from)):
        target = folder / entry.file
        if target.exists() and digest(target) == entry.sha256:
            print(f"present      {entry.file}")
        elif not entry.path and not entry.made_from:
            unpublished.append(f"{entry.file}: {entry.note}")
        else:
            try:
                if entry.path:
                    fetch(entry, target, host)
                else:
                    cameras = (folder / entry.made_from).read_text(encoding="utf-8")
                    store(entry, convert_realestate10k(cameras, target.name).encode(), target)
                print(f"{'fetched  ' if entry.path else 'converted'}    {entry.file}")
            except (OSError, ValueError) as error:
                failures.append(f"{entry.file}: {error}")
    for line in unpublished:
        print(f"unpublished  {line}")
    for line in failures:
        print(f"FAILED       {line}")
    print(f"{len(entries)} entries in {folder}: {len(failures)} failed, {len(unpublished)} not published as one file")
    return 1 if failures else 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, prog="scripts.fetch_test_data"
    )
    parser.add_argument("--to", type=Path, default=DATA, help=f"folder to fill (default {DATA})")
    parser.add_argument("--manifest", type=Path, default=MANIFEST, help="another manifest")
    parser.add_argument("--host", default=HOST, help=f"host that serves REPOSITORY/COMMIT/PATH (default {HOST})")
    parser.add_argument("--list", action="store_true", help="print sources and licenses only")
    options = parser.parse_args(arguments)
    entries = list(read_manifest(options.manifest))
    if options.list:
        for entry in entries:
            print(f"{entry.file}\t{entry.address(options.host) if entry.path else entry.note}\t{entry.license}")
        return 0
    return fetch_all(entries, options.to, options.host)


if __name__ == "__main__":
    sys.exit(main())
