"""Errors of camera poses of every available estimator on all sequences with true poses.

ATE: root mean square distance of the camera centers after Sim(3) alignment, in % of the true trajectory's length;
infinite without poses. RPE: root mean square error from one frame to the next, of the translation in % of the mean
step, of the rotation in degrees. Intrinsics are given and fixed, or estimated. The estimators get the frames only, or,
with --masks, also the true masks of moving objects where known. CPU seconds are those of all threads, for the whole
sequence.

COLMAP is included where pycolmap is installed. --rendered adds rendered sequences with exact truth and moving objects.
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, get_args

from benchmarks.accuracy.sequences import TrueSequence, load_sequences, rendered_sequences
from benchmarks.accuracy.trajectories import TrajectoryError, compare_trajectories
from benchmarks.measure import DATA, NO_DATA, markdown_table
from core.failures import ItemError
from models.sfm.classical import estimate_poses
from models.sfm.colmap import ColmapEstimator, ColmapSettings
from models.sfm.estimate import PoseEstimator, PoseRequest, without_poses

Knowledge = Literal["given", "estimated"]
FILMS = (
    "handheld",
    "handheld, moving things",
    "orbit",
    "driving",
    "Dolly In",
    "Truck Right",
    "rotation with shake",
    "Pan Left",
    "Stay",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One estimator on one sequence."""

    sequence: str
    estimator: str
    knowledge: Knowledge
    error: TrajectoryError
    focal_error_percent: float
    motion_kind: str
    pose_ok: bool
    cpu_s: float


def estimators() -> dict[str, Callable[[], PoseEstimator]]:
    """Returns all available pose estimators by name."""
    found: dict[str, Callable[[], PoseEstimator]] = {"classical": lambda: estimate_poses}
    if importlib.util.find_spec("pycolmap"):
        found["COLMAP incremental"] = lambda: ColmapEstimator(ColmapSettings(mapper="incremental"))
        found["COLMAP global"] = lambda: ColmapEstimator(ColmapSettings(mapper="global"))
    return found


def measure(
    sequence: TrueSequence, name: str, estimate: PoseEstimator, knowledge: Knowledge, *, masks: bool, threads: int
) -> Result:
    """Runs an estimator once."""
    request = PoseRequest(
        frames=sequence.frames,
        times_s=sequence.times_s,
        dynamic_masks=sequence.moving if masks else None,
        intrinsics=sequence.intrinsics if knowledge == "given" else None,
        intrinsics_mode="fix" if knowledge == "given" else "estimate",
        num_threads=threads,
    )
    start = time.process_time()
    try:
        found = estimate(request)
    except ItemError as error:
        found = without_poses(request, str(error))
    return Result(
        sequence=sequence.name,
        estimator=name,
        knowledge=knowledge,
        error=compare_trajectories(found.cam_from_world, found.registered, sequence.cam_from_world),
        focal_error_percent=100 * abs(float(found.intrinsics_px[0]) / sequence.intrinsics.fx - 1),
        motion_kind=found.motion_kind,
        pose_ok=found.pose_ok,
        cpu_s=time.process_time() - start,
    )


def print_sequences(results: Iterable[Result]) -> None:
    """A table with a row for each result."""
    header = ["sequence", "intrinsics", "estimator", "ATE %", "registered", "RPE % of a step", "RPE °", "focal error %"]
    rows = [
        [
            r.sequence,
            r.knowledge,
            r.estimator,
            r.error.ate_percent,
            f"{100 * r.error.registered_share:.0f} %",
            r.error.rpe_translation_percent,
            r.error.rpe_rotation_deg,
            r.focal_error_percent,
            r.motion_kind if r.pose_ok else "not usable",
            r.cpu_s,
        ]
        for r in results
    ]
    print(markdown_table([*header, "says", "CPU s"], rows))


def print_medians(results: Iterable[Result]) -> None:
    """Returns medians over moving sequences by estimator and intrinsics mode."""
    groups: dict[tuple[Knowledge, str], list[Result]] = defaultdict(list)
    for result in results:
        groups[result.knowledge, result.estimator].append(result)
    rows = []
    for (knowledge, estimator), group in sorted(groups.items(), reverse=True):
        moved = [r for r in group if r.error.ate_percent == r.error.ate_percent]
        rows.append(
            [
                knowledge,
                estimator,
                f"{len(group) - sum(r.error.ate_percent == float('inf') for r in group)} of {len(group)}",
                statistics.median(r.error.ate_percent for r in moved) if moved else "",
                statistics.median(r.error.rpe_translation_percent for r in moved) if moved else "",
                statistics.median(r.error.rpe_rotation_deg for r in group),
                statistics.median(r.focal_error_percent for r in group),
                sum(r.cpu_s for r in group),
            ]
        )
    header = ["intrinsics", "estimator", "with poses", "median ATE %", "RPE % of a step", "RPE °", "focal error %"]
    print(markdown_table([*header, "CPU s, all"], rows))


def main() -> None:
    makers = estimators()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--estimators", nargs="*", choices=list(makers), default=list(makers))
    parser.add_argument("--sequences", nargs="*", default=[], help="parts of names; all by default")
    parser.add_argument("--modes", nargs="*", choices=get_args(Knowledge), default=list(get_args(Knowledge)))
    parser.add_argument(
        "--rendered", nargs="*", help="rendered sequences to add: names of tests.support.films, or none for a selection"
    )
    parser.add_argument("--only-rendered", action="store_true", help="leave out the sequences of the test data")
    parser.add_argument("--masks", action="store_true", help="give the estimators the true masks where known")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    if not (DATA / "sequences").exists():
        print(f"{NO_DATA}; only rendered sequences are measured")
    chosen = {name: makers[name]() for name in options.estimators}
    results = []
    for sequence in _sequences(options):
        for knowledge in options.modes:
            for name, estimate in chosen.items():
                result = measure(sequence, name, estimate, knowledge, masks=options.masks, threads=options.threads)
                results.append(result)
                summary = f"{sequence.name}, {knowledge}, {name}: ATE {result.error.ate_percent:.3g} %"
                print(f"{summary}, {result.cpu_s:.1f} s", file=sys.stderr, flush=True)
    print_sequences(results)
    print()
    print_medians(results)


def _sequences(options: argparse.Namespace) -> Iterator[TrueSequence]:
    if not options.only_rendered:
        yield from load_sequences(options.sequences)
    if options.rendered is not None or options.only_rendered:
        yield from rendered_sequences(options.rendered or FILMS)


if __name__ == "__main__":
    main()
