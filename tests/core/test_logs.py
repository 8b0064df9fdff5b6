from __future__ import annotations

import subprocess
import sys

from core.logs import HARMLESS
from tests.support.paths import ROOT

CODE = """
import logging, sys
from core.logs import configure_logging
configure_logging()
logging.info("a line")
logging.warning(sys.argv[1] + " and more")
logging.getLogger("apache_beam").info("hidden")
logging.getLogger("apache_beam").warning("shown")
"""


def test_messages_without_meaning_for_a_user_are_left_out():
    found = subprocess.run([sys.executable, "-c", CODE, HARMLESS[0]], cwd=ROOT, capture_output=True, text=True)
    assert [line.split(" ", 1)[1] for line in found.stderr.splitlines()] == ["INFO a line", "WARNING shown"]
