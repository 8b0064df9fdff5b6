"""Optical flow: dense inverse search (Kroeger et al. 2016) and RAFT (Teed and Deng 2020)."""
