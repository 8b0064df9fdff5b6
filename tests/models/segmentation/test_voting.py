from __future__ import annotations

import numpy as np

from models.segmentation.voting import clean_masks


def test_small_and_weak_regions_are_dropped():
    gray = np.full((1, 90, 160), 100, np.uint8)
    residual = np.zeros((1, 90, 160), np.float32)
    residual[0, 20:50, 30:70] = 2.5
    residual[0, 5, 5] = 2.5
    residual[0, 60:80, 100:140] = 1.1
    (mask,) = clean_masks(gray, residual, np.ones_like(residual), map)
    assert mask[25:45, 35:65].all() and not mask[:10, :10].any() and not mask[60:80, 100:140].any()
