"""A local worker process: Beam's own worker, but logging as the launcher does."""

from __future__ import annotations

import sys

from core.logs import configure_logging


def main() -> None:
    """Serves the runner that started this process until it is done."""
    configure_logging()
    from apache_beam.runners.worker import sdk_worker_main

    sdk_worker_main.main(sys.argv)


if __name__ == "__main__":
    main()
