"""Where tests find files: the checkout, the shipped examples and the test data."""

from __future__ import annotations

import os
from pathlib import Path

from scripts.fetch_test_data import DATA as DATA
from scripts.fetch_test_data import NO_DATA as NO_DATA
from scripts.fetch_test_data import ROOT

EXAMPLES = ROOT / "examples" / "videos"
CASES = Path(os.environ.get("SPATIALBEAM_TEST_CASES") or ROOT.parent / "shared" / "cases")
NO_CASES = f"no folder of hard inputs at {CASES}: set SPATIALBEAM_TEST_CASES"
