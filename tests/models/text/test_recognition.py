"""Legibility: high for text in any direction, low for what is none."""

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from models.registry import resolve_weights
from models.registry.table import PPOCR_V6_SMALL_REC
from models.text.recognition import TextRecognizer
from models.text.scorer import TextSettings


@pytest.fixture(scope="module")
def reader() -> TextRecognizer:
    return TextRecognizer(resolve_weights(PPOCR_V6_SMALL_REC))


def line(text: str, size: tuple[int, int] = (400, 120)) -> Image.Image:
    image = Image.new("RGB", size, (40, 90, 60))
    font = ImageFont.load_default(size[1] * 0.6)
    ImageDraw.Draw(image).text((20, size[1] * 0.1), text, font=font, fill="white")
    return image


def whole(image: Image.Image) -> np.ndarray:
    width, height = image.size
    return np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)


@pytest.mark.parametrize("turn_deg", [0, 90, 180, 270])
def test_text_is_legible_in_any_direction(reader, turn_deg):
    image = line("STATION").rotate(turn_deg, expand=True)
    assert reader.legibility(np.asarray(image), whole(image)) > 0.8


def test_a_slanted_box_is_straightened(reader):
    image = Image.new("RGB", (640, 480))
    image.paste(line("STATION"), (100, 180))
    turned = image.rotate(20, resample=Image.Resampling.BICUBIC)
    angle = np.deg2rad(-20)
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    corners = np.array([[100, 180], [500, 180], [500, 300], [100, 300]]) - [320, 240]
    quad = (corners @ rotation.T + [320, 240]).astype(np.float32)
    assert reader.legibility(np.asarray(turned), quad) > 0.8


def test_of_a_long_line_the_middle_is_enough(reader):
    image = line("once upon a time there was a very long line of text in a picture", (2400, 80))
    assert reader.legibility(np.asarray(image), whole(image)) > 0.8


def test_a_lone_character_reaches_one_half_at_most(reader):
    image = line("A", (120, 120))
    assert 0.45 < reader.legibility(np.asarray(image), whole(image)) <= 0.5


@pytest.mark.parametrize(
    "image",
    [
        Image.new("RGB", (300, 200), (9, 99, 199)),
        Image.radial_gradient("L").convert("RGB"),
        Image.fromarray(np.random.default_rng(0).integers(0, 256, (200, 300, 3), dtype=np.uint8)),
        Image.new("RGB", (1, 1)),
    ],
    ids=["flat", "gradient", "noise", "one pixel"],
)
def test_what_is_no_text_is_not_legible(reader, image):
    assert reader.legibility(np.asarray(image), whole(image)) < TextSettings().confirm_legibility
