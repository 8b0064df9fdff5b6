"""Sets up this process as the launcher does, before tests import NumPy."""

from core import determinism

determinism.enable()
