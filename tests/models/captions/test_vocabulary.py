from __future__ import annotations

import math

import pytest

from models.captions.draft import CaptionDraft
from models.captions.vocabulary import UNKNOWN, VOCABULARY, is_out_of_vocabulary, normalize_tag

# What users met in published files, and what models answer instead of a word of the vocabulary.
ODD = [
    ("weather", "Frosty", "Snowy"),
    ("weather", "clear", "Sunny"),
    ("weather", "Overcast", "Cloudy"),
    ("weather", "Sunny, clear", "Sunny"),
    ("weather", "Sunny or rainy", UNKNOWN),
    ("weather", "Windy", UNKNOWN),
    ("weather", math.nan, UNKNOWN),
    ("weather", "", UNKNOWN),
    ("weather", None, UNKNOWN),
    ("weather", "None", UNKNOWN),
    ("brightness", "[Dim/Dark]", "Dim/Dark"),
    ("brightness", "Dim", "Dim/Dark"),
    ("brightness", "dim / dark", "Dim/Dark"),
    ("brightness", "**Bright**", "Bright"),
    ("brightness", "Moderate", UNKNOWN),
    ("brightness", "Bright/Dim", UNKNOWN),
    ("time_of_day", "Dawn", "Dawn/Morning"),
    ("time_of_day", "Dawn / Morning", "Dawn/Morning"),
    ("time_of_day", "dusk or evening", "Dusk/Evening"),
    ("time_of_day", "Ｄａｙｔｉｍｅ.", "Daytime"),
    ("time_of_day", "Afternoon", "Daytime"),
    ("time_of_day", "Day/Night", UNKNOWN),
    ("scene_type", "urban", "Urban"),
    ("scene_type", "Natural  landscape", "Natural Landscape"),
    ("scene_type", "NaturalLandscape", "Natural Landscape"),
    ("scene_type", "indoor", "Interior"),
    ("scene_type", "Spaceship", UNKNOWN),
    ("crowd_density", "none", "Deserted"),
    ("crowd_density", "few people", "Sparse"),
    ("crowd_density", 3, UNKNOWN),
    ("crowd_density", "N/A", UNKNOWN),
]


@pytest.mark.parametrize(("tag", "raw", "meant"), ODD)
def test_odd_values_map_to_the_vocabulary(tag, raw, meant):
    assert normalize_tag(tag, raw) == meant


def test_the_vocabulary_maps_to_itself():
    for tag, words in VOCABULARY.items():
        for word in words:
            assert normalize_tag(tag, word) == word
            assert normalize_tag(tag, f" {word.upper()}. ") == word
            assert not is_out_of_vocabulary(tag, word)


def test_a_draft_keeps_what_was_odd():
    draft = CaptionDraft(tags={"weather": "Frosty", "brightness": "Bright", "scene_subtype": "[forest road]"})
    tags = draft.normalized_tags()
    assert tags["weather"] == "Snowy"
    assert tags["crowd_density"] == UNKNOWN
    assert tags["scene_subtype"] == "Forest Road"
    assert draft.odd_tags() == ("weather=Frosty",)
