"""Benchmarks of what runs on a GPU: times by device events, accuracy on scenes whose flow is known."""
