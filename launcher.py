"""Raw video in, spatially annotated training data out: the command line. See `launcher.py --help`."""

from __future__ import annotations

import logging
import os
import sys
from typing import NoReturn

from core import determinism
from core.logs import configure_logging


def main() -> NoReturn:
    """Runs one command and ends the process with its exit code. The installed command `spatialbeam`."""
    determinism.enable()
    configure_logging()
    from beam_pipeline.cli.main import main as run_command

    try:
        code = run_command(sys.argv[1:])
    except SystemExit as request:
        code = request.code if isinstance(request.code, int) else 2 * bool(request.code)
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    # All results are on disk. Ending here spares the tear-down of native libraries whose threads still run,
    # which now and then aborts a process that had succeeded.
    os._exit(code)


if __name__ == "__main__":
    main()
