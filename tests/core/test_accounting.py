from __future__ import annotations

import dataclasses

import pytest

from core.accounting import Accounting

VIDEOS = [{"status": "done", "num_clips": 3}, {"status": "failed", "num_clips": None}]
FAILURES = [{"item": "video", "is_bug": True}, {"item": "input", "is_bug": False}, {"item": "clip", "is_bug": False}]


def count(**changes) -> Accounting:
    tables = {"videos": VIDEOS, "shots": 2, "clip_statuses": ["kept", "rejected", "failed"], "failures": FAILURES}
    return Accounting.count(**(tables | {"clips_in_shards": 1} | changes))


def test_totals_that_balance_have_no_problems():
    accounting = count()
    assert accounting.problems() == [] and accounting.as_dict()["balanced"]
    assert (accounting.videos, accounting.clips_expected, accounting.buggy_videos) == (2, 3, 1)


@pytest.mark.parametrize("field", ["videos", "clips", "clips_expected", "clips_in_shards", "failure_rows"])
def test_each_total_is_checked(field):
    accounting = count()
    wrong = dataclasses.replace(accounting, **{field: getattr(accounting, field) + 1})
    assert wrong.problems() and not wrong.as_dict()["balanced"]
    assert f"{field}=" in wrong.problems()[0]
