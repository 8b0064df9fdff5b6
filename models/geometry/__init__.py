"""Camera trajectories: posed frames, their geometry and trajectory metrics."""
