from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest

from core.failures import Failure
from core.stage import ContractError, StageContract, check_changes, check_order, get_field, replace_fields


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    key: str
    number: int
    doubled: int | None = None
    scores: Mapping[str, float] = field(default_factory=dict)
    failure: Failure | None = None


def contract(name, reads, writes):
    return StageContract(name=name, version=1, record=Item, reads=frozenset(reads), writes=frozenset(writes))


DOUBLE = contract("Double", {"number"}, {"doubled"})


def test_a_stage_that_reads_too_early_is_refused_with_the_remedy():
    late = contract("Late", {"doubled"}, set())
    with pytest.raises(ContractError, match=r"'Late' reads \['doubled'\].*put it after \['Double'\]"):
        check_order([late, DOUBLE], ["key", "number"])
    check_order([DOUBLE, late], ["key", "number"])


def test_a_contract_over_unknown_fields_is_refused():
    with pytest.raises(ValueError, match="nonsense"):
        contract("X", {"nonsense"}, set())


def test_undeclared_and_missing_results_are_refused():
    with pytest.raises(ContractError):
        check_changes(DOUBLE, {"doubled": 1, "number": 2})
    with pytest.raises(ContractError):
        check_changes(DOUBLE, {})


def test_entries_of_mappings_are_read_and_replaced_one_by_one():
    item = Item(key="k", number=1, scores={"a": 1.0})
    assert (get_field(item, "scores.a"), get_field(item, "scores.b"), get_field(item, "number")) == (1.0, None, 1)
    assert replace_fields(item, {"scores.b": 2.0, "doubled": 4}).scores == {"a": 1.0, "b": 2.0}
    assert item.scores == {"a": 1.0}
