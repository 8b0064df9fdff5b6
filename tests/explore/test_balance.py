from __future__ import annotations

import hashlib
import json
import random

import pytest

from beam_pipeline.cli.main import main
from explore.balance import RULE, balance, select_balanced
from explore.outputs import OutputError, read_accounting


def clips(counts):
    """Clips by (scene type, turns)."""
    rows = []
    for (scene, turns), count in counts.items():
        rows += [
            {"clip_id": f"{scene}-{turns}-{i:04d}", "scene_type": scene, "traj_turns": turns} for i in range(count)
        ]
    return rows


SKEWED = {("Urban", 0): 500, ("Urban", 1): 60, ("Rural", 0): 60, ("Interior", 2): 40, ("Interior", 5): 40}


def test_a_skewed_set_becomes_flat():
    selection = select_balanced(clips(SKEWED), 120)
    chosen = {axis: {v: n for v, (_, n) in values.items()} for axis, values in selection.value_counts.items()}
    assert len(set(selection.clip_ids)) == 120
    # Candidates are 9 to 1 by scene and 14 to 1 by turns.
    for axis in ("scene_type", "traj_turns"):
        assert max(chosen[axis].values()) < 2 * min(chosen[axis].values())
    assert set(chosen["traj_turns"]) == {"0", "1", "2", "3 and more"}
    assert selection.value_counts["scene_type"]["Urban"][0] == 560


def test_the_selection_is_the_rule_taken_literally():
    rows = clips({("Urban", 0): 9, ("Rural", 1): 4, (None, 0): 3, ("Unknown", 2): 3})
    left, taken, expected = list(rows), {}, []
    for _ in range(12):

        def worth(row, taken=taken):
            values = [("s", row["scene_type"]), ("t", row["traj_turns"])]
            return sum(1 / (1 + taken.get(v, 0)) for v in values if v[1] not in (None, "Unknown"))

        best = max(worth(row) for row in left)
        ties = [row for row in left if abs(worth(row) - best) < 1e-12]
        row = min(ties, key=lambda r: hashlib.sha256(r["clip_id"].encode()).hexdigest())
        left.remove(row)
        expected.append(row["clip_id"])
        for v in (("s", row["scene_type"]), ("t", row["traj_turns"])):
            taken[v] = taken.get(v, 0) + 1
    assert list(select_balanced(rows, 12, ("scene_type", "traj_turns")).clip_ids) == expected


def test_the_order_of_the_rows_does_not_matter():
    rows = clips(SKEWED)
    mixed = random.Random(4).sample(rows, len(rows))
    assert select_balanced(rows, 50) == select_balanced(mixed, 50)


def test_more_than_there_are_and_none_at_all():
    rows = clips({("Urban", 0): 3})
    assert len(select_balanced(rows, 10).clip_ids) == 3
    assert select_balanced([], 10).clip_ids == ()
    assert select_balanced(rows, 0).clip_ids == ()


def test_the_chosen_clips_become_a_data_set_that_names_the_rule(annotated, tmp_path):
    selection, accounting = balance(annotated.path, 2, where="pose_ok", folder_uri=str(tmp_path / "hq"))
    assert accounting == read_accounting(str(tmp_path / "hq")) and accounting.clips == 2
    subset = json.loads((tmp_path / "hq" / "manifest.json").read_text())["subset"]
    assert (subset["rule"], subset["count"], subset["where"]) == (RULE, 2, "pose_ok")
    assert selection.value_counts["camera_motion_kind"]["rotation"] == (1, 1)
    with pytest.raises(OutputError, match="no column 'mood'"):
        balance(annotated.path, 2, axes=("mood",))


def test_the_command(annotated, tmp_path, capsys):
    assert main(["balance", annotated.path, "--count", "2", "--materialize", str(tmp_path / "hq")]) == 0
    shown = capsys.readouterr().out
    assert "camera_motion_kind" in shown and "2 clips" in shown
