"""Where tests and benchmarks find files: the checkout, the shipped examples and the test data."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples" / "videos"
DATA = Path(os.environ.get("SPATIALBEAM_TEST_DATA") or ROOT.parent / "shared" / "data")
"""Real videos and sequences with ground truth; `scripts/fetch_test_data.py` fetches them. Tests without them skip."""
