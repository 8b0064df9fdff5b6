"""Raw video in, spatially annotated training data out: the command line. See `launcher.py --help`."""

from __future__ import annotations

from typing import NoReturn

from core import determinism
from core.logs import configure_logging


def main() -> NoReturn:
    """Runs one command and ends the process with its exit code.

    The installed command `spatialbeam`.
    """
    determinism.enable()
    configure_logging()
    from beam_pipeline.cli.main import run_process

    run_process()


if __name__ == "__main__":
    main()
