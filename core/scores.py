"""Scores of clips by models.

Each is declared here, and is a `Score` under its name in the record.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from core.arrays import UInt8Array
from core.columns import Column, Tier

NOT_SCORED_REASON = "rejected before this model ran"
"""Reason of a missing score of a clip that the cheap limits had rejected already."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """A model's score of a clip.

    Attributes:
      value: None where there is none.
      reason: why there is none; otherwise None.
      model: id and digest of the model; None where none ran.
    """

    value: float | None
    reason: str | None = None
    model: str | None = None


class ImageScorer(Protocol):
    """A model that scores clips by their sample images."""

    def score_clips(
        self, clips_rgb_u8: Sequence[Sequence[UInt8Array]], source_sizes: Sequence[tuple[int, int]]
    ) -> Sequence[float]:
        """Scores of clips.

        Args:
          clips_rgb_u8: images (h, w, 3) of each clip, at least one.
          source_sizes: (width, height) of each clip's source video, pixels.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreSpec:
    """Declaration of a score, from which its columns `<name>_score`, `<name>_reason` and `<name>_model` follow.

    Attributes:
      name: key in `ClipRecord.scores`.
      stage: stage that computes it.
      title: name for people.
      meaning, unit, range, limit: see `Column`.
    """

    name: str
    stage: str
    title: str
    meaning: str
    unit: str = ""
    range: tuple[float, float] | None = None
    limit: tuple[float | None, float | None] | None = None

    @property
    def field(self) -> str:
        """Name of the score in stage contracts: a key of the field `scores`."""
        return f"scores.{self.name}"

    @property
    def value_column(self) -> str:
        return f"{self.name}_score"

    @property
    def reason_column(self) -> str:
        return f"{self.name}_reason"

    @property
    def model_column(self) -> str:
        return f"{self.name}_model"

    def columns(self) -> tuple[Column, ...]:
        """Columns of the value, of the reason why there is none, and of the model."""
        value = Column(
            name=self.value_column,
            type=float,
            meaning=self.meaning,
            path=f"{self.field}.value",
            unit=self.unit,
            range=self.range,
            title=self.title,
            limit=self.limit,
            stage=self.stage,
            tier=Tier.MODEL,
        )
        text = partial(Column, type=str, stage=self.stage, tier=Tier.MODEL)
        why, which = f"why there is no {value.name}", f"id and digest of the model behind {value.name}"
        return (
            value,
            text(name=self.reason_column, meaning=why, path=f"{self.field}.reason"),
            text(name=self.model_column, meaning=which, path=f"{self.field}.model"),
        )


TEXT_AREA = ScoreSpec(
    name="ocr",
    stage="ScoreText",
    title="Text",
    meaning="share of the image under text, worst sample image",
    range=(0, 1),
    limit=(None, 0.3),
)
AESTHETIC = ScoreSpec(
    name="aesthetic",
    stage="ScoreAesthetic",
    title="Aesthetic",
    meaning="LAION aesthetic score, mean of the sample images, about",
    range=(0, 10),
    limit=(4, None),
)

SCORES = (TEXT_AREA, AESTHETIC)
"""All scores, in the order of their columns."""

SCORE_COLUMNS = {spec.value_column: spec for spec in SCORES}
