"""The report in a real browser: self-contained, plays clips on hover, turns pages."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from explore.report import write_report
from tests.support.browser import browser, needs_browser
from tests.support.runs import clip_row, make_run, small_tables

pytestmark = needs_browser


@pytest.fixture(scope="module")
def page():
    with browser() as page:
        yield page


def shown(page, selector):
    return page.js(f"getComputedStyle(document.querySelector('{selector}')).display") != "none"


def test_it_plays_and_shows_layers(annotated, tmp_path, page):
    copy = tmp_path / "run"
    shutil.copytree(annotated.path, copy)
    url = Path(write_report(str(copy))).as_uri()
    page.open(url)
    assert page.js("document.querySelectorAll('.film').length") == 4
    strip = "#clips article .layer.image"
    place = f"getComputedStyle(document.querySelector('{strip}')).backgroundPositionX"
    assert page.js(place) == "0px" or page.js(place) == "0%"
    page.point_at("#clips article .film")
    page.wait(f"{place} != '0%' && {place} != '0px'")
    assert not shown(page, ".layer.depth") and not shown(page, ".layer.moving")
    page.click("#show-depth")
    page.wait("document.querySelector('#show-depth').checked")
    assert shown(page, ".layer.depth") and not shown(page, ".layer.moving")
    page.click("#show-moving")
    assert shown(page, ".layer.moving") and not shown(page, ".layer.depth")
    assert page.complaints() == []
    assert {u for u in page.requests() if not u.startswith("data:")} <= {url, "about:blank"}


def test_pages_open_one_at_a_time(tmp_path, page):
    tables = small_tables()
    video = tables["videos"][0]
    tables["clips"] = [clip_row(video, i) for i in range(20)]
    page.open(Path(write_report(make_run(tmp_path, tables, images=False))).as_uri())
    opened = "[...document.querySelectorAll('details.page')].map(d => d.open)"
    assert page.js(opened) == [True, False]
    page.click("details.page:nth-of-type(2) > summary")
    page.wait(f"JSON.stringify({opened}) == '[false,true]'")
    assert page.js("document.documentElement.scrollWidth <= innerWidth")
    assert page.complaints() == []
