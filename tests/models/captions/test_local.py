"""A local vision-language model with random weights gives noise in the requested format."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from beam_pipeline.cli.main import main
from explore.outputs import read_accounting, read_table
from media.images import encode_jpeg
from models.captions.answers import RefinedAnswer
from models.captions.captioner import Captioners, CaptionInput, caption_clips
from models.captions.chat import ChatRequest, LabeledImage
from models.captions.draft import MeasuredClip
from models.captions.grammar import GrammarMask
from models.captions.local import LocalChatModel, check_local
from models.captions.settings import LocalSettings
from models.captions.vocabulary import VOCABULARY
from models.registry import WeightsError
from tests.support.paths import EXAMPLES
from tests.support.tiny_vlm import write_tiny_vlm

# A model of noise fills all the room that it has.
TEXT_CHARS, PHRASE_CHARS, ROOM = 12, 6, 300
VIDEO = EXAMPLES / "carphone_pristine.mp4"

JPEG = encode_jpeg(np.arange(60 * 80 * 3, dtype=np.uint32).astype(np.uint8).reshape(60, 80, 3))
CLIP = CaptionInput(
    measured=MeasuredClip(width=80, height=60, duration_s=2.0, luminance=100.0, darkest=90.0, brightest=110.0),
    images=(
        LabeledImage(jpeg=JPEG, label="Picture 1, at 0.00 s:"),
        LabeledImage(jpeg=JPEG, label="Picture 2, at 1.00 s:"),
    ),
    times_s=(0.0, 1.0),
)


def test_a_missing_model_is_told(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    with pytest.raises(WeightsError, match="holds no model"):
        check_local(LocalSettings(folder="/none"))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(WeightsError, match="vlm"):
        check_local(LocalSettings(folder="/none"))


@pytest.fixture(autouse=True)
def short_texts(monkeypatch):
    monkeypatch.setattr("models.captions.local.TEXT_CHARS", TEXT_CHARS)
    monkeypatch.setattr("models.captions.local.PHRASE_CHARS", PHRASE_CHARS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    for package in ("torch", "transformers", "xgrammar"):
        pytest.importorskip(package, reason="needs the [vlm] extra")
    import torch

    # Threads cost such a small model more than they give, most of all on a busy machine.
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    path = tmp_path_factory.mktemp("tiny-vlm")
    write_tiny_vlm(path)
    yield path
    torch.set_num_threads(threads)


@pytest.mark.models
def test_answers_have_the_form_that_is_asked_for(folder):
    settings = LocalSettings(folder=str(folder), device="cpu", max_output_tokens=ROOM, batch_size=2)
    chat = LocalChatModel(settings)
    room = settings.max_output_tokens
    captioners = Captioners(vision=chat, text=chat, vision_tokens=room, text_tokens=room, max_repairs=0)
    written = caption_clips([CLIP, CLIP, CLIP], captioners)
    assert [w.error for w in written] == [None] * 3
    assert written[0].draft == written[1].draft == written[2].draft
    assert written[0].draft.tags["weather"] in VOCABULARY["weather"]
    assert written[0].draft.odd_tags() == ()
    assert (written[0].usage.requests, written[0].usage.cost_usd) == (3, None)
    assert written[0].usage.input_tokens > 300


@pytest.mark.models
def test_a_model_is_told_what_was_wrong_until_it_is_given_up(folder, monkeypatch):
    # The grammar leaves room for empty texts alone, and those are no answer.
    monkeypatch.setattr("models.captions.local.TEXT_CHARS", 0)
    chat = LocalChatModel(LocalSettings(folder=str(folder), device="cpu"))
    captioners = Captioners(vision=chat, text=chat, vision_tokens=ROOM, text_tokens=ROOM, max_repairs=2)
    (written,) = caption_clips([CLIP], captioners)
    assert (written.error.error_class, written.usage.requests) == ("InvalidAnswer", 3)
    assert "must not be empty" in written.error.cause


def library_way(chat, answer_type):
    """`generate` with the grammar's masks made by xgrammar's own processor, in a cache that grows."""
    import xgrammar

    from models.captions.local import STATIC_CACHE, _bounded_schema

    generate = chat._model.generate
    grammar = chat._compiler.compile_json_schema(_bounded_schema(answer_type), any_whitespace=False)

    def plain(**options):
        kept = {name: value for name, value in options.items() if name not in ("stopping_criteria", *STATIC_CACHE)}
        return generate(**kept | {"logits_processor": [xgrammar.contrib.hf.LogitsProcessor(grammar)]})

    return plain


@pytest.mark.models
def test_texts_are_those_of_the_librarys_own_way(folder, monkeypatch):
    chat = LocalChatModel(LocalSettings(folder=str(folder), device="cpu"))
    request = ChatRequest(system="", text="", answer_type=RefinedAnswer, max_output_tokens=ROOM, images=CLIP.images[:1])
    requests = [replace(request, text=text) for text in ("the camera moves", "a street", "forward through it " * 9)]
    found = chat.reply(requests)
    monkeypatch.setattr(chat._model, "generate", library_way(chat, RefinedAnswer))
    assert found == chat.reply(requests)
    assert min(len({reply.text for reply in found}), len({reply.usage.output_tokens for reply in found})) > 1


@pytest.mark.models
def test_a_token_that_the_grammar_does_not_allow_is_told(folder):
    torch, chat = pytest.importorskip("torch"), LocalChatModel(LocalSettings(folder=str(folder), device="cpu"))
    with ThreadPoolExecutor(1) as threads:
        mask = GrammarMask(chat._compiler.compile_regex("[ab]c"), 2, threads)
        logits = mask.apply(None, torch.zeros(2, chat._model.config.get_text_config().vocab_size))
        allowed = chat._processor.tokenizer.convert_tokens_to_ids(["a", "b"])
        assert [torch.isfinite(row).nonzero().flatten().tolist() for row in logits] == [sorted(allowed)] * 2
        assert not mask.advance(torch.tensor([[0, allowed[0]], [0, 5]]), None).any()
        with pytest.raises(RuntimeError, match="does not allow token 5"):
            mask.apply(None, logits)


def run_captions(folder, output, *settings, device="cpu", workers=1):
    """Rows of the kept clips of a small job whose captions the model writes."""
    settings = [
        "annotate.pose.model=none",
        "text.model=none",
        "captions.model=transformers",
        f"captions.transformers.folder={folder}",
        f"captions.transformers.device={device}",
        f"captions.transformers.max_output_tokens={ROOM}",
        "captions.frames.max_frames=2",
        "thresholds.limits.motion_score.min=0",
        *settings,
    ]
    overrides = [part for setting in settings for part in ("--set", setting)]
    arguments = ["--config", "demo", "--no-progress", f"--direct_num_workers={workers}", *overrides]
    assert main(["--input", str(VIDEO), "--output", str(output), *arguments]) == 0
    assert read_accounting(str(output)).problems() == []
    rows = [r for r in read_table(str(output), "clips").to_pylist() if r["status"] == "kept"]
    assert rows
    return rows


@pytest.mark.models
def test_the_job_captions_by_a_local_model(folder, tmp_path):
    rows = run_captions(folder, tmp_path / "out")
    assert {r["caption_reason"] for r in rows} == {None}
    assert all(r["caption_model"].startswith(folder.name + "@") and r["caption_output_tokens"] > 0 for r in rows)


@pytest.mark.models
def test_a_clip_whose_answers_do_not_end_stays_kept_with_the_reason(folder, tmp_path, monkeypatch):
    monkeypatch.setattr("models.captions.local.TEXT_CHARS", 900)
    rows = run_captions(folder, tmp_path / "out", "captions.transformers.max_output_tokens=64")
    assert all("TruncatedAnswer" in r["caption_reason"] and r["scene_summary"] is None for r in rows)
    assert all(r["caption_requests"] == 3 for r in rows)


@pytest.mark.gpu
def test_workers_share_one_model_on_the_gpu(folder, tmp_path, monkeypatch):
    torch = pytest.importorskip("torch", reason="needs the [vlm] extra")
    if not torch.cuda.is_available():
        pytest.skip("needs a GPU")
    loaded = []
    load = LocalChatModel.__init__

    def count(chat, settings):
        load(chat, settings)
        loaded.append(chat._model.device.type)

    monkeypatch.setattr(LocalChatModel, "__init__", count)
    rows = run_captions(folder, tmp_path / "out", device="cuda", workers=4)
    assert {r["caption_reason"] for r in rows} == {None}
    assert loaded == ["cuda"]
