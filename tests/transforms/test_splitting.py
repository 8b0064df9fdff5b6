from __future__ import annotations

from dataclasses import dataclass

from core.failures import Failure
from core.settings import Settings
from core.stage import StageContract
from tests.support.eager import eager
from transforms.run_context import RunContext
from transforms.splitting import RunSplitStage, SplitStage
from transforms.stage import Stage


@dataclass(frozen=True, slots=True, kw_only=True)
class Number:
    key: str
    digits: str
    total: int | None = None
    found_parts: int | None = None
    failure: Failure | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Digit:
    key: str
    whole: str
    digit: str
    value: int | None = None
    failure: Failure | None = None


class ReadDigit(Stage[Digit]):
    contract = StageContract(
        name="ReadDigit", version=1, record=Digit, reads=frozenset({"digit"}), writes=frozenset({"value"})
    )
    settings = Settings()

    def run(self, record, output):
        return {"value": int(record.digit)}


class AddDigits(SplitStage[Number, Digit]):
    contract = StageContract(
        name="AddDigits",
        version=1,
        record=Number,
        reads=frozenset({"digits"}),
        writes=frozenset({"total", "found_parts"}),
    )
    settings = Settings()
    part_stage = ReadDigit()

    def parts(self, record):
        if len(record.digits) < 3:
            return []
        return [Digit(key=f"{record.key}-{i}", whole=record.key, digit=d) for i, d in enumerate(record.digits)]

    def whole_key(self, part):
        return part.whole

    def run(self, record, output):
        parts = self.part_results(record, output)
        values = [part.value for part in parts] if parts else map(int, record.digits)
        return {"total": sum(values), "found_parts": len(parts or ())}


def test_only_large_records_are_split_and_each_comes_out_once(tmp_path):
    records = [Number(key=f"k{digits}", digits=digits) for digits in ("12", "345", "9999")]
    found = records | eager(RunSplitStage(AddDigits(), RunContext(str(tmp_path))))
    assert sorted((r.digits, r.total, r.found_parts) for r in found) == [("12", 3, 0), ("345", 12, 3), ("9999", 36, 4)]


def test_a_failed_part_leaves_the_work_to_the_whole(tmp_path):
    (found,) = [Number(key="k", digits="12")] | eager(RunSplitStage(AddDigits(), RunContext(str(tmp_path))))
    assert found.total == 3
    (odd,) = [Number(key="odd", digits="1²3")] | eager(RunSplitStage(AddDigits(), RunContext(str(tmp_path))))
    assert odd.failure is not None
