"""A job submitted to a Dataflow double, staged in a storage emulator, then run."""

from __future__ import annotations

import json

import apache_beam as beam
import fsspec
import pytest

from beam_pipeline.cli.main import main
from explore.outputs import read_accounting, read_table
from tests.cloud.conftest import NEEDS
from tests.support.paths import EXAMPLES

pytestmark = pytest.mark.cloud

IMAGE = "europe-docker.pkg.dev/test/images/spatialbeam:1"
GEOMETRY, AESTHETIC = "EstimateGeometry", "ScoreAesthetic"


@pytest.fixture(scope="module")
def sent(gcs, environment, tmp_path_factory):
    """The job as the service saw it, and where its output is."""
    pytest.importorskip("apitools", reason=NEEDS)
    pytest.importorskip("google.cloud.dataflow_v1beta3", reason=NEEDS)
    from apache_beam.internal.gcp import auth

    from tests.support.fake_dataflow import serve

    # Else it looks for credentials, over the network and for 22 seconds.
    environment.setattr(auth._Credentials, "_credentials_init", True)
    # Secrets of the environment, and what must be no part of what is sent.
    environment.setenv("AWS_SECRET_ACCESS_KEY", "hidden-from-all")
    fs = fsspec.filesystem("gs")
    for video in EXAMPLES.glob("*.mp4"):
        fs.put_file(str(video), f"{gcs}/in/{video.name}")
    with serve() as fake:
        code = main(
            [
                "--deploy=dataflow",
                "--config=demo",
                f"--input={gcs}/in",
                f"--output={gcs}/out",
                "--project=test",
                "--region=nowhere1",
                f"--temp_location={gcs}/temp",
                f"--sdk_container_image={IMAGE}",
                f"--dataflow_endpoint={fake.url}",
                "--no_auth",
                "--machine_type=n2-highmem-8",
            ]
        )
        assert code == 0
        yield fake, f"{gcs}/out"


def hints(environment):
    return {urn.split(":")[2]: value.decode() for urn, value in environment.resource_hints.items()}


def stages_by_hints(pipeline):
    """Names of the transforms of each environment that asks for something."""
    components = pipeline.components
    found = {}
    for transform in components.transforms.values():
        if transform.environment_id:
            asked = hints(components.environments[transform.environment_id])
            found.setdefault(json.dumps(asked, sort_keys=True), set()).add(transform.unique_name)
    return found


def test_the_staged_job_cuts_the_clips_of_a_local_run(sent, tmp_path):
    _, output = sent
    assert main([f"--input={EXAMPLES}", f"--output={tmp_path}", "--config=demo", "--direct_num_workers=1"]) == 0
    assert read_accounting(output).problems() == []
    # Videos of other addresses have other ids, and equal bytes.
    cut = [set(read_table(place, "clips")["clip_sha256_128"].to_pylist()) for place in (output, str(tmp_path))]
    assert cut[0] == cut[1]
    assert len(cut[0]) > 1


def test_machines_and_labels_are_those_of_the_profile_and_of_the_command_line(sent):
    job = sent[0].job
    pool = job["environment"]["workerPools"][0]
    assert pool["machineType"] == "n2-highmem-8"
    assert pool["diskSizeGb"] == 50
    assert pool["autoscalingSettings"]["maxNumWorkers"] == 100
    assert job["labels"]["app"] == "spatialbeam"
    assert {c["containerImage"] for c in pool["sdkHarnessContainerImages"]} == {IMAGE}


def test_only_the_stage_that_needs_more_asks_for_more(sent):
    asked = stages_by_hints(sent[0].pipeline)
    assert len(asked) == 2
    ram = json.dumps({"min_ram_bytes": str(4 << 30)})
    assert {name.split("/")[1] for name in asked[ram]} == {GEOMETRY}


def test_all_environments_are_one_image_and_nothing_else_is_staged(sent):
    for environment in sent[0].pipeline.components.environments.values():
        assert IMAGE.encode() in environment.payload
        assert not [d for d in environment.dependencies if b"requirements" in d.role_payload]


def test_no_secret_is_in_what_is_sent(sent):
    fake, _ = sent
    text = json.dumps(fake.job) + str(fake.pipeline)
    assert "hidden-from-all" not in text


def test_records_are_sent_by_their_own_coders(sent):
    components = sent[0].pipeline.components
    coders = [beam.coders.Coder.from_runner_api(c, _Context(components)) for c in components.coders.values()]
    named = {str(c.record_type.__name__) for c in coders if type(c).__name__ == "RecordCoder"}
    assert named >= {"VideoRecord", "ClipRecord", "FailureRecord", "OutputFile"}


class _Context:
    """Just enough of Beam's context to read coders."""

    def __init__(self, components):
        self.components = components
        self.coders = self

    def get_by_id(self, name):
        return beam.coders.Coder.from_runner_api(self.components.coders[name], self)
