"""Where tests find files: the checkout, the shipped examples and the test data."""

from __future__ import annotations

from scripts.fetch_test_data import DATA as DATA
from scripts.fetch_test_data import NO_DATA as NO_DATA
from scripts.fetch_test_data import ROOT

EXAMPLES = ROOT / "examples" / "videos"
