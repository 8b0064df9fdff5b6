"""Faults injected into the files of a finished run: what the next run makes of them."""
