"""The chat client against `transformers serve` with a tiny model of random weights."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import numpy as np
import pytest

from media.images import encode_jpeg
from models.captions.captioner import CaptionInput, caption_clips
from models.captions.chat import LabeledImage
from models.captions.draft import MeasuredClip
from models.captions.endpoints import connect_captioners
from models.captions.settings import CaptionSettings
from tests.support.tiny_vlm import write_tiny_vlm

START_S = 120
JPEG = encode_jpeg(np.arange(60 * 80 * 3, dtype=np.uint32).astype(np.uint8).reshape(60, 80, 3))


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    for package in ("torch", "transformers", "accelerate", "fastapi", "uvicorn", "openai"):
        pytest.importorskip(package, reason="needs the [vlm] and [dev] extras")
    folder = tmp_path_factory.mktemp("tiny-vlm")
    write_tiny_vlm(folder)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "transformers.cli.transformers", "serve", str(folder), "--port", str(port)]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    log = tmp_path_factory.mktemp("log") / "server.log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            [*command, "--host", "127.0.0.1", "--device", "cpu"], stdout=file, stderr=file, env=environment
        )
    try:
        wait_for(f"http://127.0.0.1:{port}/health", process, log)
        yield f"http://127.0.0.1:{port}/v1", str(folder)
    finally:
        process.terminate()
        process.wait()


def wait_for(url, process, log):
    ends = time.monotonic() + START_S
    while time.monotonic() < ends:
        assert process.poll() is None, log.read_text()
        try:
            with urllib.request.urlopen(url):
                return
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.2)
    raise TimeoutError(log.read_text())


@pytest.mark.models
def test_a_real_server_takes_images_and_further_turns_and_counts_tokens(server, tmp_path):
    base_url, name = server
    # Noise is no JSON, and this server knows no schema: what comes back is cut off, or repaired in vain.
    settings = CaptionSettings(
        model="server",
        vision={"base_url": base_url, "name": name, "max_output_tokens": 64, "structured": "none"},
        calls={"max_repairs": 1, "max_attempts": 1},
    )
    clip = CaptionInput(
        measured=MeasuredClip(width=80, height=60, duration_s=2.0, luminance=100.0, darkest=90.0, brightest=110.0),
        images=(
            LabeledImage(jpeg=JPEG, label="Picture 1, at 0.00 s:"),
            LabeledImage(jpeg=JPEG, label="Picture 2, at 1.00 s:"),
        ),
        times_s=(0.0, 1.0),
    )
    (written,) = caption_clips([clip], connect_captioners(settings, str(tmp_path)))
    assert written.error.error_class in ("TruncatedAnswer", "InvalidAnswer"), written.error
    assert written.usage.requests >= 2
    assert written.usage.input_tokens > 300 and written.usage.output_tokens > 0
