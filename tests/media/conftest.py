from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.hostile import HostileCase, make_hostile_videos
from tests.support.paths import DATA, NO_DATA

VIDEOS = DATA / "videos"


@pytest.fixture(scope="session")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> dict[str, HostileCase]:
    return make_hostile_videos(tmp_path_factory.mktemp("hostile"))


@pytest.fixture(scope="session")
def data() -> Path:
    if not VIDEOS.is_dir():
        pytest.skip(NO_DATA)
    return VIDEOS
