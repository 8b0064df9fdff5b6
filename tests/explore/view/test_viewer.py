"""What the viewer shows of a clip, and the viewer itself in a real browser."""

from __future__ import annotations

import importlib.util
import json
import sys

import numpy as np
import pytest

from beam_pipeline.cli.main import main
from core.cameras import invert_poses
from explore.clips import ShardReader, find_clips
from explore.view import Viewer
from explore.view.shown_clip import ShownClip
from tests.support.browser import browser, needs_browser

needs_viser = pytest.mark.skipif(
    importlib.util.find_spec("viser") is None, reason="viser is not installed (pip install 'spatialbeam[view]')"
)


@pytest.fixture(scope="module")
def clips(annotated):
    return {c.clip_id: ShownClip(c) for c in ShardReader(annotated.path).read_all(find_clips(annotated.path))}


def test_cameras_stand_where_the_film_was_taken(annotated, clips):
    shown, made = clips["aaaa_00000"], annotated.films["aaaa_00000"]
    centers = invert_poses(made.cam_from_world[::2])[:, :3]
    assert np.allclose(shown.camera_path(), centers)
    camera = shown.camera(3)
    assert np.allclose(camera.center, centers[3])
    assert np.isclose(np.tan(camera.fov_rad / 2), 54 / made.intrinsics_px[0, 1])
    assert camera.aspect == 192 / 108


def test_points_lie_on_what_the_film_shows(annotated, clips):
    """No point is outside the room of 8 x 3.2 x 10 meters; colors match."""
    cloud = clips["aaaa_00001"].cloud(range(6))
    assert len(cloud.points_world) > 3000
    assert (np.abs(cloud.points_world) < np.array([4.05, 1.65, 5.05])).mean() > 0.99
    assert cloud.rgb.std() > 10


def test_overlays_change_only_what_they_are_about(clips):
    shown = clips["aaaa_00000"]
    plain, moving = (shown.image(2, moving=m, depth=False) for m in (False, True))
    changed = (plain != moving).any(axis=2)
    assert 0 < changed.mean() < 0.3
    assert (shown.image(2, moving=False, depth=True) != plain).any(axis=2).mean() > 0.5
    still = clips["bbbb_00001"]
    assert np.array_equal(still.image(0, moving=True, depth=True), still.images[0])
    assert (still.camera(0), still.cloud([0]), len(still.camera_path())) == (None, None, 0)


def test_the_timeline_names_the_motion(clips):
    text = clips["aaaa_00000"].timeline_html(3)
    assert ">Dolly In</div>" in text and ">Stay</div>" in text
    assert "0.60 s of 1.00 s" in text and "left:60.0%" in text


@needs_viser
@needs_browser
def test_clips_are_looked_at_in_a_browser(annotated):
    viewer = Viewer(annotated.path, port=8472)
    try:
        with browser(1400, 1000) as page:
            page.open(f"http://127.0.0.1:{viewer.port}/")
            page.wait("document.body.innerText.includes('The camera does this: orbit')")
            page.wait("document.querySelector('canvas') && document.body.innerText.includes('4 clips')")
            seen = "[...document.querySelectorAll('img')].find(i => i.naturalWidth == 192)?.src"
            image = page.wait(seen)
            press(page, "next")
            page.wait("document.body.innerText.includes('The camera does this: Dolly In')")
            assert viewer.shown.clip.clip_id == "aaaa_00001"
            page.wait(f"{seen} != {json.dumps(image)}")
            # A filter that one clip meets, and one that is no SQL.
            write(page, "SQL condition", "camera_motion_kind = 'rotation'")
            press(page, "Apply filters")
            page.wait("document.body.innerText.includes('The camera does this: Pan Right')")
            write(page, "SQL condition", "no_column = 1")
            press(page, "Apply filters")
            page.wait("document.body.innerText.includes('is wrong')")
            assert viewer.shown.clip.clip_id == "bbbb_00000"
            home = f"127.0.0.1:{viewer.port}"
            assert [u for u in page.requests() if u.split(":")[0] in ("http", "https", "ws") and home not in u] == []
    finally:
        viewer.stop()


def press(page, text):
    page.js(f"[...document.querySelectorAll('button')].find(b => b.textContent == {json.dumps(text)}).click()")


def write(page, label, text):
    """Types into the text field of a label."""
    label_of = f"[...document.querySelectorAll('label')].find(l => l.textContent == {json.dumps(label)})"
    page.js(
        f"(() => {{let near = {label_of}; const field = 'input, textarea';"
        "while (!near.querySelector(field)) near = near.parentElement;"
        "near.querySelector(field).focus(); near.querySelector(field).select()})()"
    )
    page.call("Input.insertText", text=text)


def test_a_missing_package_is_an_error_with_the_remedy(annotated, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "viser", None)
    assert main(["view", annotated.path]) == 2
    assert "pip install 'spatialbeam[view]'" in capsys.readouterr().err


def test_long_clips_are_shown_in_part(annotated, monkeypatch):
    monkeypatch.setattr("explore.view.shown_clip.MAX_FRAMES", 4)
    shown = ShownClip(ShardReader(annotated.path).read(find_clips(annotated.path)[0]))
    assert (len(shown), shown.left_out, len(shown.camera_path())) == (4, 2, 4)
    assert "0.40 s of 0.60 s" in shown.timeline_html(2)


def test_of_a_long_clip_what_has_poses_is_shown(annotated, monkeypatch):
    monkeypatch.setattr("explore.view.shown_clip.MAX_FRAMES", 4)
    clip = ShardReader(annotated.path).read(find_clips(annotated.path)[0])
    plain = ShownClip(ShardReader(annotated.path).read(clip.row)).image(2, moving=True, depth=True)
    clip.trajectory.cam_from_world[:3] = np.nan
    shown = ShownClip(clip)
    assert (shown.first, len(shown), shown.left_out, len(shown.camera_path())) == (2, 4, 2, 3)
    assert shown.camera(0) is None and shown.camera(1) is not None and len(shown.cloud([1]).points_world) > 500
    assert np.array_equal(shown.image(0, moving=True, depth=True), plain)
    # Words until the fourth annotated frame, which is the second one shown, a third of the way.
    assert 'title="Dolly In" style="' in shown.timeline_html(0)
    assert "left:0.0%;width:33.3%" in shown.timeline_html(0) and "left:33.3%;width:66.7%" in shown.timeline_html(0)
    clip.trajectory.cam_from_world[:] = np.nan
    assert (ShownClip(clip).first, len(ShownClip(clip).camera_path())) == (0, 0)
