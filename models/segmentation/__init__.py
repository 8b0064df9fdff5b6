"""Motion segmentation: which pixels belong to moving objects."""
