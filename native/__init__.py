"""Numbers from pixels: C++ kernels with thin Python faces. Knows nothing of the rest of the program."""
