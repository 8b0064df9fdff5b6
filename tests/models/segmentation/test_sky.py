"""Sky by its colors, and moving regions in it."""

import numpy as np

from models.segmentation.sky import drop_sky, find_sky

BLUE, PALE, GRASS, RED = (90, 150, 230), (235, 238, 240), (40, 120, 30), (200, 30, 20)


def image():
    """Blue sky over grass; a red object in the sky, a pale one below."""
    rgb = np.zeros((60, 80, 3), np.uint8)
    rgb[:30], rgb[30:] = BLUE, GRASS
    rgb[5:20, 10:25] = RED
    rgb[45:52, 60:67] = PALE
    return rgb


def test_sky_is_the_large_blue_or_pale_part():
    sky = find_sky(image())
    assert sky[25, 70] and not sky[10, 15] and not sky[40, 40]
    assert not sky[48, 63]  # far smaller than the sky
    overcast = image()
    overcast[:30] = PALE
    assert find_sky(overcast)[25, 70]
    assert not find_sky(np.full((20, 20, 3), 60, np.uint8)).any()


def test_moving_regions_in_the_sky_are_dropped_and_others_stay_as_they_are():
    moving = np.zeros((30, 40), bool)  # half the image size
    moving[2:12, 28:38] = True  # a cloud
    moving[3:9, 6:12] = True  # the red thing
    moving[20:25, 5:15] = True
    found = drop_sky(image(), moving)
    assert not found[2:12, 28:38].any()
    assert found[3:9, 6:12].all() and found[20:25, 5:15].all()
    assert found.sum() == 36 + 50
    assert not drop_sky(image(), np.zeros((30, 40), bool)).any()
