"""`launcher.py view`: the interactive viewer."""

from __future__ import annotations

import argparse

from beam_pipeline.cli.options import add_dataset_argument
from explore.view import serve

USAGE = "view OUT"
HELP = "look at clips in a browser, in space and time"
DESCRIPTION = "Shows clips in a browser: image and overlays, camera path, points, motion, caption."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the data set, a condition on its clips, and the address."""
    add_dataset_argument(parser)
    parser.add_argument("--where", metavar="SQL", help='only clips that meet a condition, e.g. "move_dist > 1"')
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on; default: this machine only")
    parser.add_argument("--port", type=int, default=8080)


def run(options: argparse.Namespace) -> int:
    """Serves the viewer until it is interrupted."""
    serve(options.output, host=options.host, port=options.port, where=options.where)
    return 0
