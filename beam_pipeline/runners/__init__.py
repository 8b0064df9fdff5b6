"""Execution engines: the local runner, Flink and Dataflow, and what each needs."""
