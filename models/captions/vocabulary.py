"""Closed vocabulary of the category tags, and normalization of raw values to it."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Mapping

UNKNOWN = "Unknown"
DIM = "Dim/Dark"

VOCABULARY: Mapping[str, tuple[str, ...]] = {
    "scene_type": ("Urban", "Natural Landscape", "Interior", "Rural", "Waterfront", UNKNOWN),
    "brightness": ("Bright", DIM, UNKNOWN),
    "time_of_day": ("Dawn/Morning", "Daytime", "Dusk/Evening", "Night", UNKNOWN),
    "weather": ("Sunny", "Rainy", "Foggy", "Cloudy", "Snowy", UNKNOWN),
    "crowd_density": ("Deserted", "Sparse", "Moderate", "Crowded", UNKNOWN),
}
"""SpatialVID's values by tag, under our names of the tags."""

# Synonyms of the values, lower case. A word that fits two values of a tag is left out: it is Unknown.
_SYNONYMS: Mapping[str, Mapping[str, str]] = {
    "scene_type": {
        "city": "Urban",
        "cityscape": "Urban",
        "town": "Urban",
        "street": "Urban",
        "suburban": "Urban",
        "nature": "Natural Landscape",
        "natural": "Natural Landscape",
        "landscape": "Natural Landscape",
        "forest": "Natural Landscape",
        "mountain": "Natural Landscape",
        "mountains": "Natural Landscape",
        "desert": "Natural Landscape",
        "indoor": "Interior",
        "indoors": "Interior",
        "inside": "Interior",
        "room": "Interior",
        "countryside": "Rural",
        "village": "Rural",
        "farmland": "Rural",
        "farm": "Rural",
        "coast": "Waterfront",
        "coastal": "Waterfront",
        "beach": "Waterfront",
        "harbor": "Waterfront",
        "harbour": "Waterfront",
        "marina": "Waterfront",
        "riverside": "Waterfront",
        "seaside": "Waterfront",
        "lakeside": "Waterfront",
        "water": "Waterfront",
    },
    "brightness": {
        "light": "Bright",
        "well lit": "Bright",
        "well-lit": "Bright",
        "daylight": "Bright",
        "dim": DIM,
        "dark": DIM,
        "low light": DIM,
        "low-light": DIM,
        "dimly lit": DIM,
        "gloomy": DIM,
    },
    "time_of_day": {
        "dawn": "Dawn/Morning",
        "morning": "Dawn/Morning",
        "early morning": "Dawn/Morning",
        "sunrise": "Dawn/Morning",
        "day": "Daytime",
        "noon": "Daytime",
        "midday": "Daytime",
        "afternoon": "Daytime",
        "dusk": "Dusk/Evening",
        "evening": "Dusk/Evening",
        "sunset": "Dusk/Evening",
        "twilight": "Dusk/Evening",
        "nighttime": "Night",
        "night time": "Night",
        "midnight": "Night",
    },
    "weather": {
        "clear": "Sunny",
        "clear sky": "Sunny",
        "clear skies": "Sunny",
        "sun": "Sunny",
        "fair": "Sunny",
        "rain": "Rainy",
        "raining": "Rainy",
        "drizzle": "Rainy",
        "stormy": "Rainy",
        "fog": "Foggy",
        "mist": "Foggy",
        "misty": "Foggy",
        "haze": "Foggy",
        "hazy": "Foggy",
        "overcast": "Cloudy",
        "clouds": "Cloudy",
        "partly cloudy": "Cloudy",
        "snow": "Snowy",
        "snowing": "Snowy",
        "frost": "Snowy",
        "frosty": "Snowy",
        "icy": "Snowy",
    },
    "crowd_density": {
        "empty": "Deserted",
        "none": "Deserted",
        "no people": "Deserted",
        "few": "Sparse",
        "few people": "Sparse",
        "low": "Sparse",
        "medium": "Moderate",
        "some": "Moderate",
        "busy": "Crowded",
        "dense": "Crowded",
        "high": "Crowded",
        "packed": "Crowded",
    },
}
_EMPTY = frozenset({"", "nan", "null", "n/a", "na", "-", "unspecified", "not specified", "unclear", "unknown"})
_EDGES = " \t\r\n*_`'\"“”‘’[](){}<>.,;:!"


def normalize_tag(tag: str, value: object) -> str:
    """Vocabulary value of a raw value; "Unknown" where it is ambiguous.

    Args:
      tag: a key of `VOCABULARY`.
      value: raw value of a model or a published file: text, a missing value (None, NaN), or anything else.
    """
    text = clean_tag(value)
    if text.lower() in _EMPTY and not (tag == "crowd_density" and text.lower() == "none"):
        return UNKNOWN
    exact = {word.lower(): word for word in VOCABULARY[tag]} | dict(_SYNONYMS[tag])
    if found := exact.get(text.lower()):
        return found
    # "Dawn / Morning", "dusk or evening", "Sunny, clear": each part must mean the same.
    parts = [clean_tag(part).lower() for part in re.split(r"[/,;|、，]|\bor\b|\band\b", text.lower())]
    meant = {exact[part] for part in parts if part in exact}
    if len(meant) == 1 and all(part in exact for part in parts if part):
        return meant.pop()
    whole = {word.lower().replace(" ", ""): word for word in VOCABULARY[tag]}
    return whole.get(re.sub(r"\s*/\s*", "/", text.lower()).replace(" ", ""), UNKNOWN)


def clean_tag(value: object) -> str:
    """A raw value as clean text; "" for None and NaN.

    Stripped of punctuation, single spaces, NFKC-normalized.
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    text = unicodedata.normalize("NFKC", str(value))
    return re.sub(r"\s+", " ", text).strip(_EDGES)


def is_out_of_vocabulary(tag: str, value: object) -> bool:
    """Whether a raw value is not exactly one of the tag's values."""
    return value not in VOCABULARY[tag]
