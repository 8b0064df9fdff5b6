"""The vocabulary that every room speaks: records, time, references, failures, the stage contract."""

import logging
import os
import sys


def _has_avx2() -> bool:
    """Whether the first processor has AVX2, as Linux tells it."""
    try:
        with open("/proc/cpuinfo", encoding="ascii", errors="replace") as file:
            return " avx2 " in file.read(8192)
    except OSError:
        return False


# Intel's primitives in OpenCV round by the processor and even by where in memory an array lies; OpenCV's own code does
# neither. It reads this when it is first used, and would warn of it.
os.environ.setdefault("OPENCV_IPP", "disabled")
os.environ.setdefault("OPENCV_LOG_LEVEL", "ERROR")

# NumPy's OpenBLAS picks its kernels, and with them the order of sums, by the processor. It reads this when NumPy is
# imported: where another program starts the workers, their environment must have it (the image has).
if "OPENBLAS_CORETYPE" not in os.environ and _has_avx2():
    os.environ["OPENBLAS_CORETYPE"] = "Haswell"
    if "numpy" in sys.modules:
        logging.getLogger(__name__).info(
            "NumPy was imported before this program: last digits may depend on the processor. Set "
            "OPENBLAS_CORETYPE=Haswell in the environment for the same bytes on all x86-64 processors with AVX2"
        )
