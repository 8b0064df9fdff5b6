"""Errors of poses between annotated frames: linear and cubic interpolation, and refinement.

Run as `python -m benchmarks.accuracy.dense`. Sequences are rendered at 25 frames a second. Every fifth pose and depth
map and the intrinsics are the true ones, so that the errors are those of the poses in between. Centers in mm, in rooms
of some meters.
"""

from __future__ import annotations

import argparse
import importlib
import time

import cv2
import numpy as np

from benchmarks.measure import markdown_table
from core.arrays import Float64Array
from models.geometry.camera_path import camera_centers, conjugate, multiply, rotation_vectors
from models.sfm.intermediate_poses import ReferenceFrame, interpolate_poses, refine_intermediate_poses
from native import se3

FILMS = ("handheld", "handheld, moving things", "rotation with shake", "driving", "orbit", "blurred")
STEP, FPS = 5, 25


def errors(found: Float64Array, true: Float64Array) -> list[float]:
    """Returns RMS and largest error of centers in mm and of angles in degrees."""
    centers = 1000 * np.linalg.norm(camera_centers(found) - camera_centers(true), axis=1)
    turned = np.degrees(np.linalg.norm(rotation_vectors(multiply(found[:, 3:], conjugate(true[:, 3:]))), axis=1))
    return [float(v) for e in (centers, turned) for v in (np.sqrt(np.mean(e**2)), e.max())]


def main() -> None:
    """Prints one Markdown table: sequences by method."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--only", nargs="+", default=list(FILMS))
    options = parser.parse_args()
    render = importlib.import_module("tests.support.films").film
    rows: list[list[str | float]] = []
    for name in options.only:
        made = render(name, seconds=options.seconds, fps=FPS, size=(320, 180))
        true, times = made.cam_from_world, made.times_s
        gray = [np.asarray(cv2.cvtColor(f, cv2.COLOR_RGB2GRAY), np.uint8) for f in made.frames]
        known = np.arange(0, len(true), STEP)
        between = np.setdiff1d(np.arange(known[-1]), known)
        before = between // STEP * STEP
        linear = se3.interpolate(true[before], true[before + STEP], (between - before) / STEP)
        cubic = interpolate_poses(true[known], times[known], times)
        refined, start = cubic.copy(), time.process_time()
        for first in known[:-1]:
            anchors = [
                ReferenceFrame(
                    gray=gray[k],
                    cam_from_world=true[k],
                    intrinsics_px=made.intrinsics_px[k],
                    inverse_depth=np.asarray(1 / made.depth_m[k], np.float32),
                    is_usable=~made.moving[k],
                )
                for k in (first, first + STEP)
            ]
            inner = slice(first + 1, first + STEP)
            found = refine_intermediate_poses(anchors, gray[inner], cubic[inner])
            ok = np.isfinite(found).all(axis=1)
            refined[inner][ok] = found[ok]
        cost_ms = 1000 * (time.process_time() - start) / len(between)
        confirmed = float(np.mean(np.any(refined[between] != cubic[between], axis=1)))
        for method, poses in (("linear", linear), ("cubic", cubic[between]), ("refined", refined[between])):
            further = [confirmed, cost_ms] if method == "refined" else ["", ""]
            rows.append([name, method, *errors(poses, true[between]), *further])
    header = ["sequence", "method", "center rms", "largest", "angle ° rms", "largest", "share refined", "CPU ms"]
    print(markdown_table(header, rows))


if __name__ == "__main__":
    main()
