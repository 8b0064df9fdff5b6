"""`launcher.py models`: what is there, what is damaged, and how to get the rest."""

import pytest

from beam_pipeline.cli.main import main
from models.registry import CACHE_VARIABLE, MODELS_VARIABLE, REGISTRY


@pytest.fixture(autouse=True)
def models_folder(tmp_path, monkeypatch):
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    monkeypatch.setenv(MODELS_VARIABLE, str(tmp_path / "models"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "models"


def test_the_list_names_every_model_with_its_license(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    assert main(["models", "list"]) == 0
    out = capsys.readouterr().out
    assert all(card.model_id in out and card.license in out for card in REGISTRY.values())
    assert "missing" in out


def test_verify_minds_damaged_weights_and_missing_ones_only_if_named(capsys, models_folder):
    assert main(["models", "verify"]) == 0
    assert main(["models", "verify", "megasam"]) == 1
    assert "launcher.py models fetch megasam" in capsys.readouterr().out
    models_folder.mkdir()
    (models_folder / "megasam_final.pth").write_bytes(b"<!DOCTYPE html>")
    assert main(["models", "verify"]) == 1
    assert "is a web page" in capsys.readouterr().out


def test_wrong_calls_say_what_is_right(capsys):
    assert main(["models", "verify", "nope"]) == 2
    assert "unknown model 'nope'" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["models", "fetch"])


def test_a_job_whose_weights_are_missing_does_not_start(capsys, tmp_path):
    assert main(["run", "--output", str(tmp_path / "out"), "--set", "aesthetic.model=clip-l14-laion"]) == 2
    assert "launcher.py models fetch laion-aesthetic-v2-l14-linear" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
