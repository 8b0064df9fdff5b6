"""Eager Beam transforms: `inputs | eager(transform)` returns a list."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions

_collected: dict[int, dict[str, list[Any]]] = defaultdict(lambda: defaultdict(list))
_runs = itertools.count()


def _collect(element: Any, run: int, name: str) -> None:
    _collected[run][name].append(element)


class eager:
    """A transform that takes an iterable and returns what came out, in no particular order.

    Several outputs come as a tuple of lists.
    """

    def __init__(self, transform: beam.PTransform) -> None:
        self._transform = transform

    def __ror__(self, inputs: Iterable[Any]) -> Any:
        run, elements = next(_runs), list(inputs)
        kind = type(elements[0]) if len({type(e) for e in elements}) == 1 else Any
        with beam.Pipeline(runner="FnApiRunner", options=PipelineOptions([])) as root:
            created = root | "Inputs" >> beam.Create(elements, reshuffle=False).with_output_types(kind)
            found = created | "Transform" >> self._transform
            outputs = found if isinstance(found, tuple) else (found,)
            for number, output in enumerate(outputs):
                output | f"Collect{number}" >> beam.Map(_collect, run, str(number))
        lists = _collected.pop(run, {})
        results = tuple(lists.get(str(number), []) for number in range(len(outputs)))
        return results if isinstance(found, tuple) else results[0]
