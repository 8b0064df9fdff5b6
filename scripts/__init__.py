"""Scripts that a user runs once, by hand: test data, a local Flink cluster."""
