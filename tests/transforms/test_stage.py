from __future__ import annotations

from dataclasses import dataclass, replace

from core.failures import Failure
from core.settings import Settings
from core.stage import StageContract
from transforms.stage import Stage


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    key: str
    number: int
    doubled: int | None = None
    failure: Failure | None = None


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


def test_the_digest_depends_on_all_that_decides_the_result():
    item = Item(key="k", number=3)
    base = Double().digest(item)
    assert base == Double().digest(replace(item, doubled=9))
    assert base != Double().digest(replace(item, number=4))
    assert base != Double(DoubleSettings(factor=3)).digest(item)
