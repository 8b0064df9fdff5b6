"""The environment that the Makefile makes: one OpenCV, nothing in conflict, no torch by default."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib import metadata

from tests.support.paths import ROOT


def test_there_is_exactly_one_opencv():
    names = {d.metadata["Name"].lower() for d in metadata.distributions()}
    assert {n for n in names if n.startswith("opencv")} == {"opencv-python-headless"}
    owners = [
        d.metadata["Name"] for d in metadata.distributions() for f in d.files or () if str(f) == "cv2/__init__.py"
    ]
    assert owners == ["opencv-python-headless"]


def test_no_package_lacks_or_contradicts_another():
    done = subprocess.run([sys.executable, "-m", "pip", "check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_default_lock_has_no_torch():
    locked = (ROOT / "requirements" / "default.lock").read_text()
    assert not re.search(r"^(torch|paddlepaddle|tensorflow)==", locked, re.MULTILINE)


def test_the_dev_lock_only_adds_to_the_default_one():
    default, dev = (set((ROOT / "requirements" / f"{n}.lock").read_text().split()) for n in ("default", "dev"))
    assert default <= dev
