"""Trajectory error of clips annotated at once and in windows of several lengths.

Run as `python -m benchmarks.accuracy.windows`. The error is ATE after Sim(3) alignment, in % of the trajectory's
length. Further columns: the quality columns that need no truth, and the true error of the focal length.
"""

from __future__ import annotations

import argparse
import tempfile

import numpy as np

from benchmarks.accuracy.sequences import TrueSequence, load_sequence, sequence_folders
from benchmarks.accuracy.trajectories import compare_trajectories
from benchmarks.measure import markdown_table
from media.clip_frames import ClipFrame
from models.annotation import AnnotationSettings, ClipAnnotation, annotate_clip
from models.sfm.classical import estimate_poses

WHOLE = 100_000
"""Longer than any sequence: one window."""


def annotate(sequence: TrueSequence, length: int, overlap: int) -> ClipAnnotation:
    """Annotates a sequence of unknown focal length in windows."""
    frames = (
        ClipFrame(rgb=np.asarray(rgb, np.uint8), index=k, time_s=float(t - sequence.times_s[0]))
        for k, (rgb, t) in enumerate(zip(sequence.frames, sequence.times_s, strict=True))
    )
    settings = AnnotationSettings(window_frames=length, window_overlap_frames=overlap)
    with tempfile.TemporaryDirectory(prefix="spatialbeam-bench-") as folder:
        return annotate_clip(frames, sequence.size, None, settings, estimate_poses, folder)


def main() -> None:
    """Prints one Markdown table: sequences by window lengths."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, default=5.0, help="annotated frames a second")
    parser.add_argument("--windows", type=int, nargs="+", default=[WHOLE, 40, 24], help="lengths in annotated frames")
    parser.add_argument("--only", nargs="+", default=[], help="sequences whose names contain one of these")
    options = parser.parse_args()
    rows: list[list[str | float]] = []
    for folder in sequence_folders():
        if options.only and not any(name in folder.name for name in options.only):
            continue
        sequence = load_sequence(folder, rate_hz=options.rate)
        for length in options.windows:
            if length != WHOLE and len(sequence.frames) <= 1.4 * length:
                continue
            found = annotate(sequence, length, max(4, length // 4))
            registered = np.asarray(np.isfinite(found.cam_from_world).all(axis=1))
            error = compare_trajectories(found.cam_from_world, registered, sequence.cam_from_world)
            rows.append(
                [
                    sequence.name,
                    len(sequence.frames),
                    found.pose_num_windows,
                    error.ate_percent,
                    error.rpe_rotation_deg,
                    100 * abs(float(np.median(found.intrinsics_px[:, 0])) / sequence.intrinsics.fx - 1),
                    "" if found.pose_focal_sigma is None else 100 * found.pose_focal_sigma,
                    "" if found.pose_scale_drift is None else 100 * found.pose_scale_drift,
                    "" if found.pose_join_offset is None else 100 * found.pose_join_offset,
                    found.pose_reason or "yes",
                ]
            )
    header = ["sequence", "frames", "windows", "ATE %", "RPE °", "focal error %", "its sigma %", "scale drift %"]
    header += ["join offset %", "fit for use"]
    print(markdown_table(header, rows))


if __name__ == "__main__":
    main()
