from __future__ import annotations

from explore.samples import load_thumbnails, missed_columns, sample_clips
from storage.store import Store
from tests.support.runs import clip_row, draw_samples, make_run, small_tables, video_row


def many_clips(num_videos=5, clips_each=40):
    tables = {"videos": [], "clips": [], "shots": [], "failures": []}
    for v in range(num_videos):
        video = video_row(f"video{v}", f"/v/{v}.mp4", num_clips=clips_each)
        tables["videos"].append(video)
        for i in range(clips_each):
            tables["clips"].append(clip_row(video, i, sample_images=[]))
    return tables


def test_videos_take_turns(tmp_path):
    picked = sample_clips(make_run(tmp_path, many_clips()), {"kept": 10})["kept"]
    assert sorted(c["video_id"] for c in picked) == sorted(f"video{v % 5}" for v in range(10))


def test_a_rare_reason_is_shown(tmp_path):
    tables = many_clips()
    for clip in tables["clips"]:
        clip |= {"status": "rejected", "rejection_reasons": ["motion_score below 2"]}
    tables["clips"][77]["rejection_reasons"] = ["ocr_score above 0.3"]
    picked = sample_clips(make_run(tmp_path, tables), {"kept": 5, "rejected": 5})
    assert picked["kept"] == []
    assert tables["clips"][77]["clip_id"] in {c["clip_id"] for c in picked["rejected"]}


def test_the_choice_does_not_depend_on_other_clips_order_and_grows(tmp_path):
    output = make_run(tmp_path, many_clips())
    few = {c["clip_id"] for c in sample_clips(output, {"kept": 7})["kept"]}
    more = {c["clip_id"] for c in sample_clips(output, {"kept": 20})["kept"]}
    assert len(few) == 7 and len(more) == 20 and few < more


def test_missed_columns_are_matched_by_whole_names():
    clip = {"rejection_reasons": ["motion_score below 2", "ocr_score is missing", "duration_s above 9"]}
    assert missed_columns(clip) == {"motion_score", "ocr_score"}


def test_first_middle_and_last_image_are_taken_and_fit_the_box(tmp_path):
    tables = small_tables()
    paths = [f"store/five/{k}.jpg" for k in range(5)]
    tables["clips"][0]["sample_images"] = paths
    output = Store(make_run(tmp_path, tables))
    images = load_thumbnails(output, {"sample_images": paths}, (160, 90))
    assert [p.size for p in images] == [(160, 90)] * 3
    centers = [p.resize((16, 9)).getpixel((2 + 3 * k, 4)) for k, p in zip((0, 2, 4), images, strict=True)]
    assert all(min(center) > 150 for center in centers)


def test_unreadable_images_are_left_out(tmp_path):
    output = make_run(tmp_path)
    draw_samples(tmp_path, ["store/good.jpg"], 0)
    (tmp_path / "store" / "bad.jpg").write_bytes(b"not an image")
    (tmp_path / "store" / "cut.jpg").write_bytes((tmp_path / "store" / "good.jpg").read_bytes()[:300])
    clip = {"sample_images": ["store/bad.jpg", "../outside.jpg", "store/good.jpg"]}
    assert len(load_thumbnails(Store(output), clip, (64, 64))) == 1
    clip = {"sample_images": ["store/cut.jpg", "store/gone.jpg"]}
    assert load_thumbnails(Store(output), clip, (64, 64)) == []
    assert load_thumbnails(Store(output), {"sample_images": None}, (64, 64)) == []
