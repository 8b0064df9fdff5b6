"""The vocabulary that every room speaks: records, time, references, failures, the stage contract."""

import os

# Intel's primitives in OpenCV round by the processor and even by where in memory an array lies; OpenCV's own code does
# neither. It reads this when it is first used, and would warn of it.
os.environ.setdefault("OPENCV_IPP", "disabled")
os.environ.setdefault("OPENCV_LOG_LEVEL", "ERROR")
