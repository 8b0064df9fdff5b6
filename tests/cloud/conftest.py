"""Object stores on loopback: emulators in threads of the test process, reached through the environment."""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator

import fsspec
import pytest

NEEDS = "needs the cloud packages: make test-cloud"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def environment() -> Iterator[pytest.MonkeyPatch]:
    with pytest.MonkeyPatch.context() as patch:
        yield patch


@pytest.fixture(scope="module")
def gcs(environment: pytest.MonkeyPatch) -> Iterator[str]:
    """URI of an empty bucket of a Google Cloud Storage emulator."""
    # Else it asks a control service, over the network and for minutes, what kind of bucket this is: read at import.
    environment.setenv("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
    gcsfs = pytest.importorskip("gcsfs", reason=NEEDS)
    emulator = pytest.importorskip("gcp_storage_emulator.server", reason=NEEDS)
    port = free_port()
    server = emulator.create_server("127.0.0.1", port, in_memory=True, default_bucket="bucket")
    server.start()
    for name, value in {
        "STORAGE_EMULATOR_HOST": f"http://127.0.0.1:{port}",
        "GOOGLE_CLOUD_PROJECT": "test",
        "NO_GCE_CHECK": "true",
    }.items():
        environment.setenv(name, value)
    gcsfs.GCSFileSystem.clear_instance_cache()
    yield "gs://bucket"
    gcsfs.GCSFileSystem.clear_instance_cache()
    server.stop()


@pytest.fixture(scope="module")
def s3(environment: pytest.MonkeyPatch) -> Iterator[str]:
    """URI of an empty bucket of an S3 emulator."""
    s3fs = pytest.importorskip("s3fs", reason=NEEDS)
    moto = pytest.importorskip("moto.server", reason=NEEDS)
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = moto.ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    _, port = server.get_host_and_port()
    for name, value in {
        "AWS_ENDPOINT_URL_S3": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        environment.setenv(name, value)
    s3fs.S3FileSystem.clear_instance_cache()
    fsspec.filesystem("s3").mkdir("bucket")
    yield "s3://bucket"
    s3fs.S3FileSystem.clear_instance_cache()
    server.stop()
