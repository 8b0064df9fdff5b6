"""C++ kernels with thin Python faces.

They know nothing of the rest of the program.
"""
