"""The model registry: rows that are complete, weights that are found and verified."""

import dataclasses
import hashlib
import http.server
import os
import sys
import threading

import fsspec
import pytest

from models.registry import (
    CACHE_VARIABLE,
    MODELS_VARIABLE,
    REGISTRY,
    HubRepo,
    ModelCard,
    PackageFile,
    WeightsError,
    WeightsFile,
    get_card,
    locate,
    resolve_model,
    resolve_weights,
)
from models.registry.fetch import fetch_model
from models.registry.table import CLIP_VIT_L14, LAION_AESTHETIC_V2, PPOCR_V6_SMALL_DET, PPOCR_V6_SMALL_REC

CONTENT = b"weights of a toy model"
DIGEST = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture(autouse=True)
def places(tmp_path_factory, monkeypatch):
    """Nothing of this machine's own caches takes part."""
    folder = tmp_path_factory.mktemp("places")
    monkeypatch.setenv(CACHE_VARIABLE, str(folder / "cache"))
    monkeypatch.setenv(MODELS_VARIABLE, str(folder / "models"))
    monkeypatch.setenv("HF_HUB_CACHE", str(folder / "hub"))
    return folder


def toy_card(**changes) -> ModelCard:
    card = ModelCard(
        model_id="toy",
        task="nothing",
        computes="nothing",
        source="https://example.org/toy",
        revision="1",
        files=(WeightsFile(path="Toy/toy.bin", sha256=DIGEST),),
        license="MIT",
        commercial_use=True,
        setting="toy.uri",
    )
    return dataclasses.replace(card, **changes)


@pytest.mark.parametrize("card", REGISTRY.values(), ids=lambda card: card.model_id)
def test_rows_are_complete(card):
    assert all(len(bytes.fromhex(file.sha256)) == 32 for file in card.files if file.sha256 is not None)
    assert all((card.task, card.computes, card.source, card.revision, card.file_name, card.license, card.setting))
    assert card.packaged is not None or card.is_fetchable
    assert card.setting in card.how_to_get or not card.setting.endswith("uri")
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
    for hint in (card.setting, card.file_name, card.source, f"launcher.py models fetch {card.model_id}"):
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


def put(path, content: bytes = CONTENT) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def test_the_models_folder_comes_before_the_hub_cache_and_a_setting_before_both(places):
    card = toy_card(hub=HubRepo(repo="maker/toy", revision="main"))
    with pytest.raises(WeightsError, match=r"neither in the models folder.*models fetch toy"):
        resolve_weights(card)
    snapshot = places / "hub" / "models--maker--toy"
    put(snapshot / "refs" / "main", b"c0ffee\n")
    in_hub = snapshot / "snapshots" / "c0ffee" / "toy.bin"
    put(in_hub)
    assert resolve_weights(card) == str(in_hub)
    in_folder = places / "models" / "Toy" / "toy.bin"
    put(in_folder)
    assert resolve_weights(card) == str(in_folder)
    mine = places / "mine" / "toy.bin"
    put(mine)
    assert resolve_weights(card, str(mine)) == str(mine) == resolve_weights(card, str(mine.parent))


def test_the_models_folder_may_be_remote(monkeypatch):
    monkeypatch.setenv(MODELS_VARIABLE, "memory://shelf")
    fsspec.filesystem("memory").pipe_file("/shelf/Toy/toy.bin", CONTENT)
    assert locate(toy_card(), toy_card().files[0]) == "memory://shelf/Toy/toy.bin"
    assert resolve_model(toy_card()).digest == DIGEST


def test_a_model_of_several_files_needs_all_of_them(places):
    files = (WeightsFile(path="Toy/toy.bin", sha256=DIGEST), WeightsFile(path="Toy/config.json", size_bytes=2))
    card = toy_card(files=files)
    put(places / "models" / "Toy" / "toy.bin")
    with pytest.raises(WeightsError, match=r"config\.json is neither"):
        resolve_model(card)
    put(places / "models" / "Toy" / "config.json", b"{}")
    model = resolve_model(card)
    assert set(model.paths) == {"toy.bin", "config.json"}
    assert model.digest != resolve_model(dataclasses.replace(card, files=files[:1])).digest == DIGEST
    put(places / "models" / "Toy" / "config.json", b"{} ")
    with pytest.raises(WeightsError, match="has 3 bytes, expected 2"):
        resolve_model(card)


@pytest.mark.parametrize(("content", "what"), [(b"", "empty"), (b"\n<!DOCTYPE html><html>", "a web page")])
def test_what_a_wrong_download_leaves_behind_is_recognized_without_a_digest(places, content, what):
    card = toy_card(files=(WeightsFile(path="toy.bin"),))
    put(places / "models" / "toy.bin", content)
    with pytest.raises(WeightsError, match=f"is {what}, not toy.bin"):
        resolve_weights(card)


def test_fetching_puts_files_into_the_models_folder_once(places, monkeypatch):
    mirror = fsspec.filesystem("memory")
    mirror.pipe_file("/mirror/toy.bin", CONTENT)
    target = places / "models" / "Toy" / "toy.bin"
    assert list(fetch_model(toy_card(), "memory://mirror")) == [str(target)]
    assert target.read_bytes() == CONTENT
    mirror.rm("/mirror/toy.bin")
    assert list(fetch_model(toy_card(), "memory://mirror")) == [str(target)]
    monkeypatch.setenv(MODELS_VARIABLE, "memory://other-shelf")
    assert list(fetch_model(toy_card(), str(target.parent))) == ["memory://other-shelf/Toy/toy.bin"]
    assert resolve_model(toy_card()).digest == DIGEST


def test_fetching_by_http_checks_what_comes(places):
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            found = self.path != "/gone.bin"
            self.send_response(200 if found else 404)
            self.end_headers()
            self.wfile.write(CONTENT if self.path == "/toy.bin" else b"<html>not found</html>")

        def log_message(self, *_):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            base = f"http://127.0.0.1:{server.server_port}"

            def card(name: str) -> ModelCard:
                return toy_card(files=(WeightsFile(path="Toy/toy.bin", sha256=DIGEST, url=f"{base}/{name}"),))

            with pytest.raises(WeightsError, match=r"cannot read 'http.*404.*put it at"):
                list(fetch_model(card("gone.bin")))
            with pytest.raises(WeightsError, match=r"page\.html' is a web page, not toy\.bin"):
                list(fetch_model(card("page.html")))
            assert not (places / "models").exists()
            (target,) = fetch_model(card("toy.bin"))
            assert resolve_weights(card("toy.bin")) == target
        finally:
            server.shutdown()
            thread.join()
    leftovers = [p for p in places.rglob(".tmp-*")]
    assert leftovers == []


def test_what_nobody_publishes_by_url_is_not_fetched():
    with pytest.raises(WeightsError, match=r"no URL of toy\.bin is known\. Get toy\.bin"):
        list(fetch_model(toy_card()))
