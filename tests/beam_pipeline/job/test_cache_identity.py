"""Settings that cannot change a result never invalidate a stored one."""

from __future__ import annotations

import json
import typing

import pytest
from pydantic import BaseModel

from beam_pipeline.cli.main import main
from beam_pipeline.config import PipelineConfig, load_config
from beam_pipeline.graph import make_stages
from tests.support.paths import EXAMPLES


def operational_fields(group=PipelineConfig, prefix=""):
    """Dotted name and another value of each field that is marked as operational."""
    for name, field in group.model_fields.items():
        path, kind = f"{prefix}{name}", field.annotation
        marked = (field.json_schema_extra or {}).get("operational")
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from operational_fields(kind, path + ".") if not marked else all_fields(kind, path + ".")
        elif marked:
            yield path, another(field)


def all_fields(group, prefix):
    return ((prefix + name, another(field)) for name, field in group.model_fields.items())


def another(field):
    choices = typing.get_args(field.annotation)
    if typing.get_origin(field.annotation) is typing.Literal:
        return next(choice for choice in choices if choice != field.default)
    is_text = str in (field.annotation, *choices)
    return "http://127.0.0.1:1" if is_text else (field.default or 0) + 1


FIELDS = dict(operational_fields())


def identities(overrides):
    stages = make_stages(load_config("annotate", [f"{name}={json.dumps(value)}" for name, value in overrides.items()]))
    return {stage.contract.name: stage.settings.identity(*stage.settings_read) for stage in stages.all}


def test_threads_devices_and_folders_are_among_them():
    assert {"annotate.num_threads", "text.device", "captions.transformers.folder", "captions.calls.concurrency"} <= set(
        FIELDS
    )


@pytest.mark.parametrize("name", FIELDS)
def test_no_cache_key_depends_on(name):
    if name.endswith(("detector_uri", "reader_uri")):
        pytest.skip("no such weights: the digest of weights takes the folder's part in the cache key")
    assert identities({name: FIELDS[name]}) == identities({})


@pytest.mark.slow
def test_another_number_of_workers_and_threads_computes_nothing_again(tmp_path):
    def run(*arguments):
        inputs = ["--config=annotate", f"--input={EXAMPLES / 'carphone_pristine.mp4'}", f"--output={tmp_path}"]
        assert (
            main([*inputs, "--set=annotate.fps=3", "--set=text.model=ppocrv6-small", "--no-progress", *arguments]) == 0
        )
        return json.loads((tmp_path / "run.json").read_text())["stage_times"]

    first = run("--direct_num_workers=1")
    again = run("--direct_num_workers=2", "--set=annotate.num_threads=3", "--set=annotate.decoder=nvdec")
    cached = [stage for stage, counts in first.items() if counts["done"] and stage not in ("ProbeVideo", *UNCACHED)]
    assert cached
    for stage in cached:
        assert again[stage]["done"] == 0, stage
        assert again[stage]["reused"] == first[stage]["done"], stage


UNCACHED = {stage.contract.name for stage in make_stages(load_config()).all if not stage.contract.cached}
