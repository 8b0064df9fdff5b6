"""Camera trajectories: frames with poses, projection, and trajectory metrics."""
