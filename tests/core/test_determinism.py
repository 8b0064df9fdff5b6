"""Set-up of NumPy's linear algebra; results do not depend on its kernels."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest

from core import determinism
from tests.support.paths import EXAMPLES, ROOT

LIBRARIES = sorted((Path(np.__file__).parent.parent / "numpy.libs").glob("*openblas*"))
pytestmark = [
    pytest.mark.skipif(not LIBRARIES, reason="this NumPy does not bring OpenBLAS with it"),
    pytest.mark.skipif(not determinism.has_avx2(), reason="the processor has no AVX2"),
]
KERNELS = "from core import determinism; print(determinism._openblas_kernels(), determinism.is_enabled())"
JOB = """
import numpy, os, sys
from beam_pipeline.cli.main import main
code = main(sys.argv[1:])
os._exit(code)  # as the launcher does, without the tear-down of native libraries
"""


def python(code, *arguments, **environment):
    """What code prints in a new process whose environment names no kernels but those given."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("OPENBLAS", "OPENCV"))}
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, env=clean | environment, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("environment", [{}, {"OPENBLAS_CORETYPE": "SkylakeX"}])
@pytest.mark.slow
def test_kernels_do_not_depend_on_the_processor(environment):
    setup = "from core import determinism; determinism.enable(); import apache_beam, numpy; "
    assert python(setup + KERNELS, **environment) == "Haswell True"


def test_importing_the_vocabulary_changes_nothing():
    assert python("import os, core.records; print([n for n in os.environ if n.startswith('OPEN')])") == "[]"


def test_a_process_that_imported_numpy_first_is_told_apart():
    assert python("import numpy; " + KERNELS, OPENBLAS_CORETYPE="Nehalem") == "Nehalem False"


@pytest.mark.slow
def test_bytes_do_not_depend_on_the_kernels_of_a_process_that_imported_numpy_first(tmp_path):
    digests = []
    for kernels in (None, "SkylakeX", "Haswell"):
        output = tmp_path / str(kernels)
        arguments = ["--config=annotate", "--no-progress", "--direct_num_workers=1", "--set=annotate.fps=3"]
        environment = {"OPENBLAS_CORETYPE": kernels} if kernels else {}
        python(JOB, *arguments, f"--input={EXAMPLES / 'carphone_pristine.mp4'}", f"--output={output}", **environment)
        digests.append(json.loads((output / "manifest.json").read_text()))
    assert digests[0] == digests[1] == digests[2]


def test_no_thread_uses_opencv_primitives_that_round_by_processor():
    with ThreadPoolExecutor(1) as pool:
        assert not cv2.ipp.useIPP()
        assert not pool.submit(cv2.ipp.useIPP).result()
