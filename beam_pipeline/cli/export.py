"""`launcher.py export`: clips in the layouts of other programs."""

from __future__ import annotations

import argparse

from beam_pipeline.cli.options import add_dataset_argument
from explore.export import FORMATS, export_clips

USAGE = "export OUT ..."
HELP = "clips as SpatialVID, COLMAP, nerfstudio, rerun or CSV"
DESCRIPTION = "Writes kept clips in a layout that other programs read."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the data set, the format, the folder, and a condition on the clips."""
    add_dataset_argument(parser)
    parser.add_argument("--format", required=True, choices=tuple(FORMATS))
    parser.add_argument("--to", required=True, metavar="FOLDER", help="where to write (path or fsspec URI)")
    parser.add_argument("--where", metavar="SQL", help='only clips that meet a condition, e.g. "traj_turns >= 2"')


def run(options: argparse.Namespace) -> int:
    """Exports the clips and prints how many were left out, by reason."""
    done = export_clips(options.output, options.format, options.to, options.where, on_progress=print)
    print(f"{options.to}: {done.clips} clips as {options.format}")
    for reason, count in done.left_out.items():
        print(f"left out: {count} clips: {reason}")
    return 0
