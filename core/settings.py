"""Base of all typed configuration: unknown keys are refused, values cannot be changed."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from pydantic import BaseModel, ConfigDict
from pydantic.config import JsonDict

OPERATIONAL: JsonDict = {"operational": True}
"""`json_schema_extra` of a field that cannot change a result: threads, devices, folders, batch sizes, rates, prices."""


class Settings(BaseModel):
    """Base class of every configuration group. Each field states its unit and has a description."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_enum_values=False, validate_default=True)

    def identity(self, *paths: str) -> dict[str, Any]:
        """JSON values of all fields that can change a result, for the cache key.

        Args:
          paths: dotted names of the fields that matter ("pose.model"); all if none is given.
        """
        values = self.model_dump(mode="json", exclude=_operational_fields(type(self)))
        return {path: _at(values, path) for path in paths} if paths else values


@cache
def _operational_fields(group: type[BaseModel]) -> dict[str, Any]:
    """Operational fields of a group and its subgroups, as pydantic's `exclude`."""
    found: dict[str, Any] = {}
    for name, field in group.model_fields.items():
        extra, kind = field.json_schema_extra, field.annotation
        if isinstance(extra, Mapping) and extra.get("operational"):
            found[name] = True
        elif isinstance(kind, type) and issubclass(kind, BaseModel) and (inner := _operational_fields(kind)):
            found[name] = inner
    return found


def _at(values: Any, path: str) -> Any:
    for part in path.split("."):
        values = values[part]
    return values
