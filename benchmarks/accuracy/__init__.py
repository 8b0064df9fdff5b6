"""Accuracy of poses, depth maps and masks on sequences with ground truth."""
