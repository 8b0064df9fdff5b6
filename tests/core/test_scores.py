from __future__ import annotations

import pytest

from core.columns import Tier
from core.scores import SCORES, ScoreSpec

SPEC = ScoreSpec(name="blur", stage="ScoreBlur", title="Blur", meaning="how blurred", range=(0, 1), limit=(None, 0.5))


def test_a_score_declares_three_columns():
    value, reason, model = SPEC.columns()
    assert (value.name, reason.name, model.name) == ("blur_score", "blur_reason", "blur_model")
    assert (value.path, value.type, value.limit) == ("scores.blur.value", float, (None, 0.5))
    assert {column.tier for column in SPEC.columns()} == {Tier.MODEL}
    assert {column.stage for column in SPEC.columns()} == {"ScoreBlur"}


@pytest.mark.parametrize("attribute", ["name", "stage", "field", "value_column"])
def test_scores_do_not_collide(attribute):
    assert len({getattr(spec, attribute) for spec in SCORES}) == len(SCORES)
