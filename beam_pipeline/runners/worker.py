"""A local worker process: Beam's own worker with the launcher's logging and numeric set-up."""

from __future__ import annotations

import logging
import sys

from core import determinism
from core.logs import configure_logging


def main() -> None:
    """Serves the runner that started this process until it closes the connection."""
    determinism.enable()
    configure_logging()
    import grpc
    from apache_beam.runners.worker import sdk_worker_main

    try:
        sdk_worker_main.main(sys.argv)
    except grpc.RpcError as error:
        # How a runner on another engine ends a worker; if it broke instead, it says so itself.
        logging.getLogger(__name__).info("the runner closed the connection (%s)", error.code())
        sys.exit(1)


if __name__ == "__main__":
    main()
