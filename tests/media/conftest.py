from __future__ import annotations

from pathlib import Path

import pytest

from tests.hostile import HostileCase, make_hostile_videos

DATA = Path(__file__).parents[3] / "shared" / "data" / "videos"


@pytest.fixture(scope="session")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> dict[str, HostileCase]:
    return make_hostile_videos(tmp_path_factory.mktemp("hostile"))


@pytest.fixture(scope="session")
def data() -> Path:
    if not DATA.is_dir():
        pytest.skip(f"the test videos are not at {DATA}")
    return DATA
