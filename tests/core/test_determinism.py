"""How NumPy's linear algebra is set up by whatever imports this program first."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import core
from tests.support.paths import ROOT

LIBRARIES = sorted((Path(np.__file__).parent.parent / "numpy.libs").glob("*openblas*"))
KERNELS = """
import ctypes, sys
ask = ctypes.CDLL(sys.argv[1]).scipy_openblas_get_corename64_
ask.restype = ctypes.c_char_p
print(ask().decode())
"""


def kernels_after(imports, **environment):
    """The kernels that OpenBLAS has chosen in a new process without the variable, and what was logged there."""
    clean = {name: value for name, value in os.environ.items() if name != "OPENBLAS_CORETYPE"}
    code = f"import logging; logging.basicConfig(level='INFO'); import {imports}; {KERNELS}"
    done = subprocess.run(
        [sys.executable, "-c", code, str(LIBRARIES[0])],
        env=clean | environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip(), done.stderr


@pytest.mark.skipif(not LIBRARIES, reason="this NumPy does not bring OpenBLAS with it")
@pytest.mark.skipif(not core._has_avx2(), reason="the processor has no AVX2")
def test_kernels_do_not_depend_on_the_processor():
    assert kernels_after("core.logs, apache_beam, numpy")[0] == "Haswell"


@pytest.mark.skipif(not LIBRARIES, reason="this NumPy does not bring OpenBLAS with it")
@pytest.mark.skipif(not core._has_avx2(), reason="the processor has no AVX2")
def test_where_numpy_came_first_a_remedy_is_told():
    assert "OPENBLAS_CORETYPE=Haswell" in kernels_after("numpy, core")[1]
    assert kernels_after("numpy, core", OPENBLAS_CORETYPE="Haswell") == ("Haswell", "")
