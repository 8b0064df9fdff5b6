"""Logging of the command line: one line a message.

Messages that mean nothing to a user are left out.
"""

from __future__ import annotations

import logging

HARMLESS = (
    # Beam without its [gcp] extra, which local runs do not need.
    "apitools not found, and bigquery client libraries",
    # Beam's memory metric of models, which needs an optional part of that extra.
    "Resource module is not available for current platform",
    # Beam's local worker processes, which have no container.
    "No semi_persistent_directory found",
    # A worker whose runner has finished and closed the connection.
    "Failed to read inputs in the data plane",
)


def _says_something(record: logging.LogRecord) -> bool:
    message = record.getMessage()
    return not any(text in message for text in HARMLESS)


def configure_logging() -> None:
    """Sets up logging to standard error.

    Call it before Beam is imported, since importing Beam logs already.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s", "%H:%M:%S"))
    handler.addFilter(_says_something)
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    for library in ("apache_beam", "gcsfs", "fsspec", "botocore", "aiobotocore", "httpx", "httpx2", "openai"):
        logging.getLogger(library).setLevel(logging.WARNING)
    logging.getLogger("libav").setLevel(logging.CRITICAL)
