"""Optical flow by RAFT (Teed and Deng 2020); needs the [models] extra."""
