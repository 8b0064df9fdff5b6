"""Builds the CUDA kernels: `python -m native.cuda.build`.

Needs only `nvcc`, on the PATH, in CUDA_HOME or from the wheel nvidia-cuda-nvcc. The library does not link Python or
torch, and works with all of their versions.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

FOLDER = Path(__file__).parent
LIBRARY = FOLDER / "libspatialbeam_cuda.so"
ARCHITECTURES = (80, 86, 89, 90)


def find_nvcc() -> str | None:
    """Path of nvcc, or None."""
    homes = [Path(os.environ[key]) for key in ("CUDA_HOME", "CUDA_PATH") if os.environ.get(key)]
    homes += sorted(Path(sysconfig.get_paths()["purelib"]).glob("nvidia/cu*"), reverse=True)
    homes.append(Path("/usr/local/cuda"))
    places = os.pathsep.join(str(home / "bin") for home in homes)
    return shutil.which("nvcc") or shutil.which("nvcc", path=places)


def build(nvcc: str) -> None:
    """Compiles the kernels for each architecture, and to PTX for later ones."""
    codes = [f"-gencode=arch=compute_{a},code=sm_{a}" for a in ARCHITECTURES]
    newest = ARCHITECTURES[-1]
    codes.append(f"-gencode=arch=compute_{newest},code=compute_{newest}")
    command = [nvcc, "-O3", "-std=c++17", "-lineinfo", "-shared", "-Xcompiler", "-fPIC", "--threads", "0", *codes]
    unfinished = LIBRARY.with_suffix(".tmp.so")
    subprocess.run([*command, "-o", unfinished, *sorted(FOLDER.glob("*.cu"))], check=True)
    unfinished.replace(LIBRARY)


if __name__ == "__main__":
    compiler = find_nvcc()
    if compiler is None:
        sys.exit("no nvcc was found: install the CUDA toolkit, or `pip install nvidia-cuda-nvcc`")
    build(compiler)
