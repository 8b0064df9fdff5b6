"""Video in and out by PyAV: probe, decode once, exact timestamps, cut and encode."""
