"""Camera poses of a clip: where each frame was taken from, and through what lens."""
