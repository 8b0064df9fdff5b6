"""Imports of optional packages."""

from __future__ import annotations

import importlib
from types import ModuleType

from explore.outputs import OutputError


def import_extra(package: str, extra: str) -> ModuleType:
    """Imports a package of an optional extra.

    Raises:
      OutputError: if it is not installed; the message says how to get it.
    """
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise OutputError(
            f"this needs the package {package!r}, which cannot be imported ({error}): "
            f"pip install 'spatialbeam[{extra}]'"
        ) from error
