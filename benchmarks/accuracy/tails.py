"""Distributions of pose and depth errors, beside COLMAP's, and whether `pose_ok` is true.

Estimators get what the user's command annotates: the clip's file, decoded and sampled at 5 Hz, nothing known. Clips are
rendered ones of the test bed (exact truth) and, with --sequences, the real sequences of the test data. Good poses have
an ATE of at most 2 % of the path, or 1 % of the median depth, and a scale that changes by at most 5 % between thirds of
the clip. Precision: share of the clips called ok that are good. Coverage: share of the good clips that are called ok;
with COLMAP, of the clips that its global mapper solves that well. Even seeds are for tuning, odd ones only for reports.

Run: `python -m benchmarks.accuracy.tails --testbed FOLDER --seeds 0:300 --colmap`
"""

from __future__ import annotations

import argparse
import csv
import importlib.util
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import get_args

import cv2
import numpy as np

from benchmarks.accuracy.clip_results import CRASHED, ClipResult, Estimator, measure_clip
from benchmarks.accuracy.sequences import sequence_folders
from benchmarks.measure import markdown_table
from benchmarks.testbed.__main__ import ensure_clip, seeds_of

ATE_LIMITS_PERCENT = (2.0, 5.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Job:
    """A clip to measure: a folder, or a seed to render below `root`."""

    estimators: tuple[Estimator, ...]
    folder: Path | None = None
    root: Path | None = None
    seed: int = 0


def measure_job(job: _Job) -> list[ClipResult]:
    """Measures all estimators on one clip."""
    cv2.setNumThreads(1)
    folder = job.folder
    if folder is None:
        assert job.root is not None
        folder = ensure_clip(job.seed, job.root)
    return [measure_clip(folder, estimator) for estimator in job.estimators]


def distribution(values: Sequence[float]) -> list[float]:
    """Returns median, mean of the finite values, 90th and 99th percentile.

    Values may be infinite.
    """
    finite = [v for v in values if np.isfinite(v)]
    known = np.array([v for v in values if not np.isnan(v)])
    if not len(known):
        return [float("nan")] * 4
    # No interpolation, as values may be infinite.
    p90, p99 = (float(np.percentile(known, q, method="higher")) for q in (90, 99))
    return [statistics.median(known.tolist()), float(np.mean(finite)) if finite else float("nan"), p90, p99]


def error_table(results: Iterable[ClipResult]) -> str:
    """Returns a table of ATE and scale changes.

    It has a row for each estimator, for all clips and for those called ok.
    """
    results, rows = list(results), []
    for estimator in get_args(Estimator):
        for group, chosen in (("all", lambda r: True), ("called ok", lambda r: r.pose_ok)):
            part = [r for r in results if r.estimator == estimator and chosen(r)]
            if part:
                ate = [r.ate_percent for r in part]
                above = [_percent(sum(a > limit for a in ate), len(ate)) for limit in ATE_LIMITS_PERCENT]
                changes = distribution([r.scale_change_percent for r in part])
                registered = 100 * float(np.mean([r.registered for r in part]))
                rows.append(
                    [estimator, group, len(part), *distribution(ate), *above, changes[0], changes[2], registered]
                )
    header = ["estimator", "clips", "number", "ATE %: median", "mean", "90th", "99th", "above 2 %", "above 5 %"]
    return markdown_table([*header, "scale change %: median", "90th", "registered %"], rows)


def trust_table(results: Iterable[ClipResult]) -> str:
    """Returns a table of precision and coverage of `pose_ok`, and of depth errors."""
    results = list(results)
    solved = {r.clip for r in results if r.estimator == "COLMAP global" and r.is_good}
    has_colmap = any(r.estimator == "COLMAP global" for r in results)
    rows = []
    for estimator in get_args(Estimator):
        part = [r for r in results if r.estimator == estimator]
        called = [r for r in part if r.pose_ok]
        if part:
            reference = [r for r in part if (r.clip in solved if has_colmap else r.is_good)]
            depth = distribution([r.depth_abs_rel_percent for r in called])
            rows.append(
                [
                    estimator,
                    len(part),
                    _percent(sum(r.is_good for r in part), len(part)),
                    _percent(len(called), len(part)),
                    _percent(sum(r.is_good for r in called), len(called)),
                    _percent(sum(r.pose_ok for r in reference), len(reference)),
                    depth[0],
                    depth[2],
                    sum(r.motion_kind == CRASHED for r in part),
                    float(np.median([r.cpu_s for r in part])),
                ]
            )
    header = ["estimator", "clips", "good", "called ok", "precision", "coverage"]
    return markdown_table([*header, "depth abs-rel %: median", "90th", "crashed", "CPU s: median"], rows)


def group_table(results: Iterable[ClipResult], key: Callable[[ClipResult], str], name: str) -> str:
    """Returns a table of our estimator by groups of clips."""
    ours = [r for r in results if r.estimator == "ours"]
    rows = []
    for group in sorted({key(r) for r in ours}):
        part = [r for r in ours if key(r) == group]
        called = [r for r in part if r.pose_ok]
        worst = max((r.ate_percent for r in called if not np.isnan(r.ate_percent)), default=float("nan"))
        good = sum(r.is_good for r in called)
        rows.append([group, len(part), len(called), good, distribution([r.ate_percent for r in part])[0], worst])
    return markdown_table([name, "clips", "called ok", "of these good", "ATE %: median", "worst called ok"], rows)


def wrong_table(results: Iterable[ClipResult]) -> str:
    """Returns a table of our clips called ok that are not good, the worst first."""
    wrong = [r for r in results if r.estimator == "ours" and r.pose_ok and not r.is_good]
    wrong.sort(key=lambda r: -r.ate_percent)
    rows = [
        [
            r.clip,
            r.scene,
            r.motion,
            r.moving_percent,
            r.ate_percent,
            r.ate_of_depth_percent,
            r.scale_change_percent,
            r.depth_abs_rel_percent,
            r.motion_kind,
        ]
        for r in wrong
    ]
    header = [
        "clip",
        "scene",
        "motion",
        "moving %",
        "ATE %",
        "of depth %",
        "scale change %",
        "depth abs-rel %",
        "camera",
    ]
    return markdown_table(header, rows)


def write_csv(path: Path, results: Iterable[ClipResult]) -> None:
    """Writes a row for each clip and estimator."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, [f.name for f in fields(ClipResult)])
        writer.writeheader()
        for result in results:
            row = asdict(result)
            writer.writerow({k: f"{v:.6g}" if isinstance(v, float) else v for k, v in row.items()})


def print_tables(results: Sequence[ClipResult]) -> None:
    """Prints all tables: rendered clips, their two halves, real sequences."""
    rendered = [r for r in results if r.motion != "real"]
    halves = [[r for r in rendered if int(r.clip[-4:]) % 2 == k] for k in (0, 1)]
    real = [r for r in results if r.motion == "real"]
    for title, part in (("Even seeds", halves[0]), ("Odd seeds", halves[1]), ("Real sequences", real)):
        if part:
            print(f"\n{title}\n\n{error_table(part)}\n\n{trust_table(part)}")
    if rendered:
        print(f"\n{group_table(rendered, lambda r: r.motion, 'motion')}")
        print(f"\n{group_table(rendered, lambda r: r.scene, 'scene')}")
    print(f"\nCalled ok and not good\n\n{wrong_table(results)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--testbed", type=Path, help="folder of rendered clips; missing ones are rendered into it")
    parser.add_argument("--seeds", type=seeds_of, help="A:B or A:B:STEP; by default the clips that are in --testbed")
    parser.add_argument("--sequences", action="store_true", help="the real sequences of the test data too")
    parser.add_argument("--colmap", action="store_true", help="COLMAP's global and incremental mapper too")
    parser.add_argument("--csv", type=Path, default=Path("tails.csv"))
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    if options.colmap and not importlib.util.find_spec("pycolmap"):
        parser.error("--colmap needs the package pycolmap")
    estimators = get_args(Estimator) if options.colmap else get_args(Estimator)[:1]
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    started = time.perf_counter()
    results: list[ClipResult] = []
    with tempfile.TemporaryDirectory(prefix="spatialbeam-testbed-") as temporary:
        root = options.testbed or Path(temporary)
        jobs = [_Job(estimators=estimators, root=root, seed=seed) for seed in options.seeds or ()]
        if options.testbed and options.seeds is None:
            jobs += [_Job(estimators=estimators, folder=path) for path in sorted(root.glob("clip_*"))]
        if options.sequences:
            jobs += [_Job(estimators=estimators, folder=path) for path in sequence_folders()]
        spawn = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(options.processes, mp_context=spawn) as pool:
            for part in pool.map(measure_job, jobs):
                results += part
                # Each time, so that a long run that is ended has its rows.
                write_csv(options.csv, results)
    print_tables(results)
    print(f"\n{len(jobs)} clips in {time.perf_counter() - started:.0f} s; rows in {options.csv}")


def _percent(count: int, total: int) -> str:
    return f"{100 * count / total:.1f} %" if total else ""


if __name__ == "__main__":
    main()
