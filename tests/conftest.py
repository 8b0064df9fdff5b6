"""Sets up this process as the launcher sets up its own, before any test imports NumPy."""

from core import determinism

determinism.enable()
