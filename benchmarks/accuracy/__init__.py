"""How near poses, depths and masks come to the truth, on sequences that have one."""
