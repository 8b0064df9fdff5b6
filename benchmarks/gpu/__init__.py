"""GPU benchmarks: times by device events, accuracy on scenes of known flow."""
