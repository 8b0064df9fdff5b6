"""Builds the native kernels; all metadata is in pyproject.toml.

One extension, `native._native`, from every file in native/csrc. No flag names the machine's own processor:
kernels choose their instruction set when they run, so that one wheel serves all processors of a family. Compilers may
not fuse products with sums as they like: numbers are then the same from each of them, on each processor.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from pybind11.setup_helpers import ParallelCompile, Pybind11Extension, build_ext
from setuptools import setup
from setuptools.errors import CompileError

CSRC = Path("native/csrc")
REMEDY = (
    "a C++17 compiler and Python's headers are needed to build the native kernels: "
    "`apt-get install g++ python3-dev` on Debian and Ubuntu, `dnf install gcc-c++ python3-devel` on Fedora, "
    "`xcode-select --install` on macOS; another compiler can be named by the environment variable CXX"
)


class BuildNative(build_ext):
    """`build_ext` with instructions for a missing compiler."""

    def build_extensions(self) -> None:
        compiler = getattr(self.compiler, "compiler_cxx", None)
        if compiler and shutil.which(compiler[0]) is None:
            raise CompileError(f"no C++ compiler was found ({compiler[0]!r} is not on the path): {REMEDY}")
        try:
            super().build_extensions()
        except CompileError as error:
            raise CompileError(f"{error} If no compiler error is shown above: {REMEDY}") from error


native_extension = Pybind11Extension(
    "native._native",
    sources=sorted(str(path) for path in CSRC.glob("*.cpp")),
    depends=sorted(str(path) for path in CSRC.glob("*.hpp")),
    cxx_std=17,
    extra_compile_args=["-O3", "-Wall", "-Wextra", "-ffp-contract=off"],
)

ParallelCompile("MAX_JOBS", default=2).install()
setup(ext_modules=[native_extension], cmdclass={"build_ext": BuildNative})
