"""One module per step of the job: its PTransform, its config class, its contract."""
