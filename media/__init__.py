"""Video input and output with PyAV: probe, decode once, exact PTS, cut and encode."""
