"""Captions and category tags, composed from measured values or written by vision-language models."""

from __future__ import annotations

from models.captions.draft import CaptionDraft, MeasuredClip
from models.captions.embedded import compose_caption
from models.captions.layouts import caption_file
from models.captions.settings import CaptionSettings

__all__ = ["CaptionDraft", "CaptionSettings", "MeasuredClip", "caption_file", "compose_caption"]
