from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
from pydantic import Field

from core.failures import Failure
from core.settings import OPERATIONAL, Settings
from core.stage import ContractError, StageContract, check_changes, check_order
from storage.store import Store
from transforms.stage import Stage


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    key: str
    number: int
    doubled: int | None = None
    failure: Failure | None = None


class Inner(Settings):
    device: str = Field("cpu", json_schema_extra=OPERATIONAL)
    size: int = 3


class Outer(Settings):
    threads: int = Field(1, json_schema_extra=OPERATIONAL)
    inner: Inner = Inner()


class DoubleSettings(Settings):
    factor: int = 2


class Double(Stage[Item]):
    contract = StageContract(
        name="Double", version=1, record=Item, reads=frozenset({"number"}), writes=frozenset({"doubled"})
    )

    def __init__(self, settings=None):
        self.settings = settings or DoubleSettings()

    def run(self, record, output):
        return {"doubled": record.number * self.settings.factor}


def contract(name, reads, writes):
    return StageContract(name=name, version=1, record=Item, reads=frozenset(reads), writes=frozenset(writes))


def test_a_stage_that_reads_too_early_is_refused_with_the_remedy():
    late = contract("Late", {"doubled"}, set())
    with pytest.raises(ContractError, match=r"'Late' reads \['doubled'\].*put it after \['Double'\]"):
        check_order([late, Double.contract], ["key", "number"])
    check_order([Double.contract, late], ["key", "number"])


def test_a_contract_over_unknown_fields_is_refused():
    with pytest.raises(ValueError, match="nonsense"):
        contract("X", {"nonsense"}, set())


def test_undeclared_and_missing_results_are_refused():
    with pytest.raises(ContractError):
        check_changes(Double.contract, {"doubled": 1, "number": 2})
    with pytest.raises(ContractError):
        check_changes(Double.contract, {})


def test_fields_that_cannot_change_a_result_are_no_part_of_the_cache_key():
    assert Outer(threads=8, inner=Inner(device="cuda")).identity() == {"inner": {"size": 3}}
    assert Outer().identity("inner.size") == {"inner.size": 3}


def test_the_digest_depends_on_all_that_decides_the_result():
    item = Item(key="k", number=3)
    base = Double().digest(item)
    assert base == Double().digest(replace(item, doubled=9))
    assert base != Double().digest(replace(item, number=4))
    assert base != Double(DoubleSettings(factor=3)).digest(item)


def test_results_are_found_again(tmp_path):
    item, store = Item(key="k", number=3), Store(str(tmp_path))
    output = Double().output(item, store)
    assert output.load(Item) is None
    output.save({"doubled": 6})
    assert Double().output(item, store).load(Item) == {"doubled": 6}
