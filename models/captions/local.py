"""A vision-language model of `transformers` in this process, whose answers a grammar holds to their schema."""

from __future__ import annotations

import hashlib
import importlib.util
import io
import json
import os
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any

from PIL import Image

from models.captions.answers import Answer
from models.captions.chat import ChatReply, ChatRequest, Usage
from models.captions.grammar import GrammarMask
from models.captions.settings import LocalSettings
from models.registry import WeightsError

PACKAGES = ("torch", "transformers", "xgrammar")
TEXT_CHARS, PHRASE_CHARS = 900, 60
# Keys and values have one size for a whole batch: for each size that it has not met yet, the attention of cuDNN makes a
# plan, which takes longer than a step. Nothing is compiled, since each size would be compiled anew.
STEADY: dict[str, Any] = {"cache_implementation": "static", "disable_compile": True}
# What decides a model's answers: weights, tokenizer, processor, chat template, configuration.
DECISIVE = (".safetensors", ".json", ".jinja", ".txt", ".model")


def check_local(settings: LocalSettings) -> tuple[str, str]:
    """Name and digest of the model in the settings' folder.

    Raises:
      WeightsError: if packages or files are missing. Says how to get them.
    """
    if lacking := [name for name in PACKAGES if importlib.util.find_spec(name) is None]:
        raise WeightsError(f"captions.model: transformers needs {lacking}: pip install 'spatialbeam[vlm]'")
    folder = settings.folder
    if not folder or not os.path.isfile(os.path.join(folder, "config.json")):
        raise WeightsError(
            f"captions.transformers.folder={folder!r} holds no model: give the local folder of a vision-language model "
            "in the layout of transformers (config.json, *.safetensors, tokenizer, processor)"
        )
    name = os.path.basename(os.path.normpath(folder))
    files = [os.path.join(folder, file) for file in sorted(os.listdir(folder)) if file.endswith(DECISIVE)]
    return name, _digest_of(tuple((path, os.stat(path).st_size, os.stat(path).st_mtime_ns) for path in files))


@lru_cache(maxsize=4)
def _digest_of(files: tuple[tuple[str, int, int], ...]) -> str:
    """SHA-256 over names and contents of files, given with size and time so that it is taken once."""
    digest = hashlib.sha256()
    for path, _, _ in files:
        with open(path, "rb") as file:
            digest.update(f"{os.path.basename(path)}\0{hashlib.file_digest(file, 'sha256').hexdigest()}\0".encode())
    return digest.hexdigest()


class LocalChat:
    """A vision-language model loaded into this process. Runs no code that comes with the weights.

    Threads may share it: their batches are answered one after the other, so that memory is that of one batch.

    Args:
      settings: where it is, and where it runs.
    """

    def __init__(self, settings: LocalSettings) -> None:
        import torch
        import xgrammar
        from transformers import AutoModelForImageTextToText, AutoProcessor

        self._torch = torch
        self._settings = settings
        self._device = settings.device
        local: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
        self._processor: Any = AutoProcessor.from_pretrained(settings.folder, **local)
        # Answers follow their questions, so shorter questions are padded in front.
        self._processor.tokenizer.padding_side = "left"
        dtype = torch.bfloat16 if settings.device == "cuda" else torch.float32
        model: Any = AutoModelForImageTextToText.from_pretrained(
            settings.folder, dtype=dtype, use_safetensors=True, **local
        )
        self._model: Any = model.to(self._device).eval()
        size = self._model.config.get_text_config().vocab_size
        tokens = xgrammar.TokenizerInfo.from_huggingface(self._processor.tokenizer, vocab_size=size)
        self._compiler = xgrammar.GrammarCompiler(tokens)
        self._lock = threading.Lock()
        self._threads = ThreadPoolExecutor(1, "grammar")

    def reply(self, requests: Sequence[ChatRequest]) -> list[ChatReply]:
        """One reply to each request, in order; those alike are answered together, `batch_size` at a time."""
        replies: dict[int, ChatReply] = {}
        for indices in self._batches(requests):
            replies.update(zip(indices, self._answer([requests[i] for i in indices]), strict=True))
        return [replies[i] for i in range(len(requests))]

    def _batches(self, requests: Sequence[ChatRequest]) -> Iterator[list[int]]:
        kinds: dict[tuple[type[Answer], int], list[int]] = {}
        for index, request in enumerate(requests):
            kinds.setdefault((request.answer_type, request.max_output_tokens), []).append(index)
        for indices in kinds.values():
            for start in range(0, len(indices), self._settings.batch_size):
                yield indices[start : start + self._settings.batch_size]

    def _answer(self, requests: Sequence[ChatRequest]) -> list[ChatReply]:
        torch = self._torch
        inputs = self._processor.apply_chat_template(
            [_conversation(request) for request in requests],
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            processor_kwargs={"padding": True, "return_tensors": "pt"},
        ).to(self._device)
        room = requests[0].max_output_tokens
        grammar = self._compiler.compile_json_schema(_bounded_schema(requests[0].answer_type), any_whitespace=False)
        with self._lock, torch.inference_mode():
            mask = GrammarMask(grammar, len(requests), self._threads)
            output = self._model.generate(
                **inputs,
                max_new_tokens=room,
                do_sample=False,
                logits_processor=[mask.apply],
                stopping_criteria=[mask.follow],
                **STEADY,
            )
        answers = output[:, inputs["input_ids"].shape[1] :]
        asked = inputs["attention_mask"].sum(dim=1).tolist()
        return [self._reply(tokens, room, count) for tokens, count in zip(answers, asked, strict=True)]

    def _reply(self, tokens: Any, room: int, asked: int) -> ChatReply:
        ends = self._model.generation_config.eos_token_id
        ends = {ends} if isinstance(ends, int) else set(ends or ())
        listed = tokens.tolist()
        length = next((i for i, token in enumerate(listed) if token in ends), len(listed))
        return ChatReply(
            text=self._processor.tokenizer.decode(listed[:length], skip_special_tokens=True),
            is_cut=length == len(listed) >= room,
            usage=Usage(requests=1, input_tokens=int(asked), output_tokens=length, cost_usd=None),
        )


def _conversation(request: ChatRequest) -> list[dict[str, Any]]:
    content: list[dict[str, Any]] = []
    for picture in request.pictures:
        image = Image.open(io.BytesIO(picture.jpeg)).convert("RGB")
        content += [{"type": "text", "text": picture.label}, {"type": "image", "image": image}]
    schema = json.dumps(request.answer_type.json_schema())
    content.append({"type": "text", "text": f"{request.text}\n\nAnswer with a JSON object of this schema:\n{schema}"})
    turns = [{"role": turn.role, "content": [{"type": "text", "text": turn.text}]} for turn in request.turns]
    system = {"role": "system", "content": [{"type": "text", "text": request.system}]}
    return [system, {"role": "user", "content": content}, *turns]


def _bounded_schema(answer_type: type[Answer]) -> str:
    """The schema with an end to each text, so that a model that repeats itself comes to one."""
    schema = answer_type.json_schema()
    for name, value in schema["properties"].items():
        if value["type"] == "array":
            value |= {"items": {"type": "string", "maxLength": PHRASE_CHARS}, "minItems": 1, "maxItems": 5}
        elif "enum" not in value:
            value["maxLength"] = PHRASE_CHARS if name == "scene_subtype" else TEXT_CHARS
    return json.dumps(schema)
