"""The vocabulary that every room speaks: records, time, references, failures, the stage contract."""
