"""The model registry: rows that are complete, weights that are found and verified."""

import dataclasses
import hashlib
import os
import sys

import fsspec
import pytest

from models.registry import (
    CACHE_VARIABLE,
    CLIP_VIT_L14,
    LAION_AESTHETIC_V2,
    PPOCR_V6_SMALL_DET,
    PPOCR_V6_SMALL_REC,
    REGISTRY,
    ModelCard,
    PackageFile,
    WeightsError,
    get_card,
    resolve_weights,
)

CONTENT = b"weights of a toy model"


def toy_card(**changes) -> ModelCard:
    card = ModelCard(
        model_id="toy",
        computes="nothing",
        source="https://example.org/toy",
        revision="1",
        file_name="toy.bin",
        sha256=hashlib.sha256(CONTENT).hexdigest(),
        licence="MIT",
        commercial_use=True,
        setting="toy.uri",
    )
    return dataclasses.replace(card, **changes)


@pytest.mark.parametrize("card", REGISTRY.values(), ids=lambda card: card.model_id)
def test_rows_are_complete(card):
    assert len(bytes.fromhex(card.sha256)) == 32
    assert all((card.computes, card.source, card.revision, card.file_name, card.licence, card.setting))
    assert card.setting in card.how_to_get
    assert get_card(card.model_id) is card


def test_unknown_models_are_named():
    with pytest.raises(ValueError, match=r"'nope'.*ppocrv6-small-det"):
        get_card("nope")


@pytest.mark.parametrize("card", [PPOCR_V6_SMALL_DET, PPOCR_V6_SMALL_REC], ids=lambda card: card.model_id)
def test_packaged_weights_are_the_registered_ones(card):
    path = resolve_weights(card)
    assert os.path.basename(path) == card.file_name


@pytest.mark.parametrize("card", [CLIP_VIT_L14, LAION_AESTHETIC_V2], ids=lambda card: card.model_id)
def test_weights_that_the_user_must_bring_are_asked_for(card):
    with pytest.raises(WeightsError) as caught:
        resolve_weights(card)
    for hint in (card.setting, card.file_name, card.source):
        assert hint in str(caught.value)


def package(folder, monkeypatch, name: str, content: bytes = CONTENT) -> PackageFile:
    """A package on the path that cannot be imported, only looked up."""
    (folder / name / "models").mkdir(parents=True)
    (folder / name / "__init__.py").write_text("raise RuntimeError('imported')")
    (folder / name / "models" / "toy.bin").write_bytes(content)
    monkeypatch.syspath_prepend(str(folder))
    return PackageFile(distribution=f"{name}==1.0", package=name, path="models/toy.bin")


def test_packages_are_looked_up_without_being_imported(tmp_path, monkeypatch):
    packaged = package(tmp_path, monkeypatch, "toy_weights_a")
    path = resolve_weights(toy_card(packaged=packaged))
    assert path == str(tmp_path / "toy_weights_a" / "models" / "toy.bin")
    assert "toy_weights_a" not in sys.modules


def test_a_package_with_other_weights_is_refused(tmp_path, monkeypatch):
    packaged = package(tmp_path, monkeypatch, "toy_weights_b", b"newer weights")
    with pytest.raises(WeightsError, match=r"SHA-256.*Install toy_weights_b==1\.0"):
        resolve_weights(toy_card(packaged=packaged))


def test_a_package_that_moved_its_weights_is_refused(tmp_path, monkeypatch):
    packaged = dataclasses.replace(package(tmp_path, monkeypatch, "toy_weights_c"), path="other.bin")
    with pytest.raises(WeightsError, match=r"has no other\.bin"):
        resolve_weights(toy_card(packaged=packaged))


def test_a_missing_package_is_named():
    packaged = PackageFile(distribution="absent==2.0", package="absent_weights", path="toy.bin")
    with pytest.raises(WeightsError, match=r"'absent_weights' is not installed\. Install absent==2\.0"):
        resolve_weights(toy_card(packaged=packaged))


def test_an_override_comes_first_and_is_verified(tmp_path, monkeypatch):
    packaged = package(tmp_path, monkeypatch, "toy_weights_d")
    mine = tmp_path / "mine.bin"
    mine.write_bytes(CONTENT)
    card = toy_card(packaged=packaged)
    assert resolve_weights(card, str(mine)) == str(mine)
    assert resolve_weights(card, mine.as_uri()) == str(mine)
    mine.write_bytes(b"damaged")
    with pytest.raises(WeightsError, match="damaged or another version"):
        resolve_weights(card, str(mine))


def test_a_missing_override_is_named_with_its_setting(tmp_path):
    with pytest.raises(WeightsError, match=r"no file at toy\.uri='.*gone\.bin'.*https://example\.org/toy"):
        resolve_weights(toy_card(), str(tmp_path / "gone.bin"))
    with pytest.raises(WeightsError, match=r"no file at toy\.uri"):
        resolve_weights(toy_card(), str(tmp_path))


def test_an_unknown_protocol_is_refused():
    with pytest.raises(WeightsError, match=r"cannot open toy\.uri='nowhere://x/toy\.bin'"):
        resolve_weights(toy_card(), "nowhere://x/toy.bin")


def test_remote_weights_are_copied_once(tmp_path, monkeypatch):
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    memory = fsspec.filesystem("memory")
    memory.pipe_file("/bucket/toy.bin", CONTENT)
    path = resolve_weights(toy_card(), "memory://bucket/toy.bin")
    assert path.startswith(str(tmp_path / "cache"))
    with open(path, "rb") as file:
        assert file.read() == CONTENT
    memory.rm("/bucket/toy.bin")
    assert resolve_weights(toy_card(), "memory://bucket/toy.bin") == path


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("memory://bucket/wrong.bin", "memory://bucket/wrong.bin.*SHA-256"),
        ("memory://bucket/gone.bin", "cannot read toy.uri"),
    ],
)
def test_failed_copies_leave_nothing_in_the_cache(tmp_path, monkeypatch, uri, message):
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))
    fsspec.filesystem("memory").pipe_file("/bucket/wrong.bin", b"wrong")
    with pytest.raises(WeightsError, match=message):
        resolve_weights(toy_card(), uri)
    assert list((tmp_path / "weights").iterdir()) == []
