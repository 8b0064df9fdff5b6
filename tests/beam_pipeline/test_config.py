from __future__ import annotations

import pytest

from beam_pipeline.config import ConfigError, load_config, profiles, to_yaml


def test_every_profile_is_valid():
    assert {"embedded", "demo"} <= set(profiles())
    for name in profiles():
        load_config(name)


def test_defaults_are_spatialvids_limits():
    limits = load_config().thresholds.limits
    assert limits["aesthetic_score"].min == 4
    assert (limits["luminance_score"].min, limits["luminance_score"].max) == (20, 140)
    assert (limits["motion_score"].min, limits["motion_score"].max) == (2, 14)
    assert limits["ocr_score"].max == 0.3


def test_overrides_go_deep_and_keep_their_neighbors():
    config = load_config(
        None,
        [
            "thresholds.limits.motion_score.min=1",
            "thresholds.limits.ocr_score=null",
            "analysis.clips.max_s=20",
        ],
    )
    assert config.thresholds.limits["motion_score"].min == 1
    assert config.thresholds.limits["motion_score"].max == 14
    assert config.thresholds.limits["ocr_score"] is None
    assert config.analysis.clips.max_s == 20


def test_a_file_is_laid_over_the_defaults(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("cut: {crf: 30}\n")
    assert load_config(str(path)).cut.crf == 30


def test_what_is_shown_can_be_loaded_again(tmp_path):
    path = tmp_path / "shown.yaml"
    path.write_text(to_yaml(load_config("demo")))
    assert load_config(str(path)) == load_config("demo")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["analysis.clips.min_ss=3"], "analysis.clips.min_ss"),
        (["analysis.clips.min_s=-1"], "greater than 0"),
        (["analysis.clips.max_s=1"], "raise max_s"),
        (["thresholds.limits.beauty.min=1"], "beauty"),
        (["nonsense"], "key.path=value"),
        (["analysis.parity=true"], "shots.mode=reference"),
    ],
)
def test_mistakes_name_the_key_and_the_remedy(overrides, message):
    with pytest.raises(ConfigError, match=message):
        load_config(None, overrides)


def test_an_unknown_profile_is_named_with_the_known_ones():
    with pytest.raises(ConfigError, match=r"profiles are .*embedded"):
        load_config("no-such-profile")
