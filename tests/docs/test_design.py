"""The drawing and the walk through the code of docs/design.md say what the code is."""

from __future__ import annotations

import re

from beam_pipeline.config import load_config
from beam_pipeline.graph import make_stages
from docs.draw_design import CLIP, VIDEO, draw
from tests.support.paths import ROOT

PAGE = (ROOT / "docs" / "design.md").read_text(encoding="utf-8")


def test_the_drawing_is_up_to_date():
    assert (ROOT / "docs" / "design.svg").read_text(encoding="utf-8") == draw(), "run `python -m docs.draw_design`"


def test_the_drawing_has_the_stages_in_the_order_of_the_graph():
    stages = make_stages(load_config(None, []))
    drawn = [name for row in (VIDEO, *CLIP) for name, *_ in row]
    order = [stage.contract.name for stage in (*stages.video, *stages.clip)]
    assert [name for name in drawn if name in order] == order


def test_the_walk_names_existing_files_once():
    walk = PAGE[PAGE.index("## Walk one video") :]
    files = re.findall(r"`([\w./]+\.(?:py|cpp|hpp))`", walk)
    assert len(files) > 60
    assert [file for file in files if not (ROOT / file).exists()] == []
    assert sorted(files) == sorted(set(files))
