from __future__ import annotations

import numpy as np
import pytest

from core.failures import ItemError
from storage.store import Store
from transforms.handlers.images import load_images, total_bytes


def test_images_are_loaded_in_order(examples):
    store_uri, clips = examples
    plain, words, again = load_images(Store(store_uri), clips["words"])
    assert plain.shape == words.shape == (180, 320, 3)
    assert plain.dtype == np.uint8
    np.testing.assert_array_equal(plain, again)
    assert not np.array_equal(plain, words)


def test_a_changed_image_is_refused_with_a_remedy(examples):
    store_uri, clips = examples
    with pytest.raises(ItemError, match="run again"):
        load_images(Store(store_uri), clips["changed"])
    with pytest.raises(ItemError, match="is gone"):
        load_images(Store(store_uri), clips["gone"])


def test_the_size_of_a_batch_is_known_without_reading_it(examples):
    _, clips = examples
    assert total_bytes([clips["gone"], clips["empty"]]) == sum(ref.size_bytes for ref in clips["gone"].images)
