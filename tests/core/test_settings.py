from __future__ import annotations

import pytest
from pydantic import Field, ValidationError

from core.settings import OPERATIONAL, Settings


class Inner(Settings):
    device: str = Field("cpu", json_schema_extra=OPERATIONAL)
    size: int = 3


class Outer(Settings):
    threads: int = Field(1, json_schema_extra=OPERATIONAL)
    inner: Inner = Inner()


def test_fields_that_cannot_change_a_result_are_no_part_of_the_cache_key():
    assert Outer(threads=8, inner=Inner(device="cuda")).identity() == {"inner": {"size": 3}}
    assert Outer().identity("inner.size") == {"inner.size": 3}


def test_unknown_keys_and_changes_are_refused():
    with pytest.raises(ValidationError, match="Extra inputs"):
        Outer.model_validate({"thread": 2})
    with pytest.raises(ValidationError, match="frozen"):
        Outer().threads = 2
