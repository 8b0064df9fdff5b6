"""The Dockerfile against what it copies and pins; no engine is needed."""

from __future__ import annotations

import re
import tomllib

from tests.support.paths import ROOT

DOCKERFILE = (ROOT / "Dockerfile").read_text()


def locked(name):
    return dict(line.split("==") for line in (ROOT / "requirements" / name).read_text().split())


def test_all_packages_of_the_program_are_in_the_image():
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]["find"]["include"]
    copied = set(re.findall(r"^COPY (\w+) \1$", DOCKERFILE, re.MULTILINE))
    assert {name.rstrip("*") for name in packages} == copied


def test_beam_in_the_image_is_the_locked_one():
    assert f"_sdk:{locked('default.lock')['apache-beam']}\n" in DOCKERFILE


def test_the_images_packages_are_those_that_the_cloud_tests_use():
    assert locked("image.lock").items() <= locked("cloud.lock").items()
    assert not {"moto", "flask", "gcp-storage-emulator"} & set(locked("image.lock"))


def test_workers_have_no_rights_and_no_weights_by_default():
    runtime = DOCKERFILE[DOCKERFILE.index(" AS runtime") :]
    assert re.search(r"^USER (?!0|root)\w+$", runtime, re.MULTILINE)
    assert 'ARG WEIGHTS=""' in runtime
    # Without it Beam's boot program makes an environment below /opt, which the user may not.
    assert "RUN_PYTHON_SDK_IN_DEFAULT_ENVIRONMENT=1" in runtime
    assert 'ENTRYPOINT ["/opt/apache/beam/boot"]' in runtime
