"""Raw video in, spatially annotated training data out: the command line. See `launcher.py --help`."""

from __future__ import annotations

import sys

from core.logs import configure_logging


def main() -> int:
    """Runs one command; returns the exit code. The installed command `spatialbeam`."""
    configure_logging()
    from beam_pipeline.commands import main as run_command

    return run_command(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
