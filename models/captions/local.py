"""Vision-language model of `transformers` in this process, with grammar-constrained JSON output."""

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
# A static key-value cache: cuDNN's attention plans once per cache size, which takes longer than a decoding step.
# Compilation is off, since it would run again for each batch.
STATIC_CACHE: dict[str, Any] = {"cache_implementation": "static", "disable_compile": True}
# Files that determine a model's answers: weights, tokenizer, processor, chat template, configuration.
MODEL_FILES = (".safetensors", ".json", ".jinja", ".txt", ".model")


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
    files = [os.path.join(folder, file) for file in sorted(os.listdir(folder)) if file.endswith(MODEL_FILES)]
    return name, _digest_of(tuple((path, os.stat(path).st_size, os.stat(path).st_mtime_ns) for path in files))


@lru_cache(maxsize=4)
def _digest_of(files: tuple[tuple[str, int, int], ...]) -> str:
    """SHA-256 over names and contents of files, cached by path, size and modification time."""
    digest = hashlib.sha256()
    for path, _, _ in files:
        with open(path, "rb") as file:
            digest.update(f"{os.path.basename(path)}\0{hashlib.file_digest(file, 'sha256').hexdigest()}\0".encode())
    return digest.hexdigest()


class LocalChatModel:
    """A vision-language model in this process. Runs no code that comes with the weights.

    Thread-safe; batches run one at a time, so memory is that of one batch.

    Args:
      settings: folder, device, batch size.
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
        # Decoder-only generation needs left padding.
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
        self._executor = ThreadPoolExecutor(1, "grammar")

    def reply(self, requests: Sequence[ChatRequest]) -> list[ChatReply]:
        """One reply to each request, in order.

        Requests with the same schema and limit share batches.
        """
        replies: dict[int, ChatReply] = {}
        for indices in self._batches(requests):
            replies.update(zip(indices, self._generate([requests[i] for i in indices]), strict=True))
        return [replies[i] for i in range(len(requests))]

    def _batches(self, requests: Sequence[ChatRequest]) -> Iterator[list[int]]:
        kinds: dict[tuple[type[Answer], int], list[int]] = {}
        for index, request in enumerate(requests):
            kinds.setdefault((request.answer_type, request.max_output_tokens), []).append(index)
        for indices in kinds.values():
            for start in range(0, len(indices), self._settings.batch_size):
                yield indices[start : start + self._settings.batch_size]

    def _generate(self, requests: Sequence[ChatRequest]) -> list[ChatReply]:
        torch = self._torch
        inputs = self._processor.apply_chat_template(
            [_conversation(request) for request in requests],
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            processor_kwargs={"padding": True, "return_tensors": "pt"},
        ).to(self._device)
        max_tokens = requests[0].max_output_tokens
        grammar = self._compiler.compile_json_schema(_bounded_schema(requests[0].answer_type), any_whitespace=False)
        with self._lock, torch.inference_mode():
            mask = GrammarMask(grammar, len(requests), self._executor)
            output = self._model.generate(
                **inputs,
                max_new_tokens=max_tokens,
                do_sample=False,
                logits_processor=[mask.apply],
                stopping_criteria=[mask.advance],
                **STATIC_CACHE,
            )
        answers = output[:, inputs["input_ids"].shape[1] :]
        input_lengths = inputs["attention_mask"].sum(dim=1).tolist()
        return [self._reply(tokens.tolist(), max_tokens, n) for tokens, n in zip(answers, input_lengths, strict=True)]

    def _reply(self, tokens: list[int], max_tokens: int, input_tokens: int) -> ChatReply:
        eos = self._model.generation_config.eos_token_id
        eos = {eos} if isinstance(eos, int) else set(eos or ())
        length = next((i for i, token in enumerate(tokens) if token in eos), len(tokens))
        return ChatReply(
            text=self._processor.tokenizer.decode(tokens[:length], skip_special_tokens=True),
            is_truncated=length == len(tokens) >= max_tokens,
            usage=Usage(requests=1, input_tokens=int(input_tokens), output_tokens=length, cost_usd=None),
        )


def _conversation(request: ChatRequest) -> list[dict[str, Any]]:
    content: list[dict[str, Any]] = []
    for image in request.images:
        rgb = Image.open(io.BytesIO(image.jpeg)).convert("RGB")
        content += [{"type": "text", "text": image.label}, {"type": "image", "image": rgb}]
    schema = json.dumps(request.answer_type.json_schema())
    content.append({"type": "text", "text": f"{request.text}\n\nAnswer with a JSON object of this schema:\n{schema}"})
    later = [{"role": m.role, "content": [{"type": "text", "text": m.text}]} for m in request.messages]
    system = {"role": "system", "content": [{"type": "text", "text": request.system}]}
    return [system, {"role": "user", "content": content}, *later]


def _bounded_schema(answer_type: type[Answer]) -> str:
    """JSON schema with bounded strings, so that repetition ends."""
    schema = answer_type.json_schema()
    for name, value in schema["properties"].items():
        if value["type"] == "array":
            value |= {"items": {"type": "string", "maxLength": PHRASE_CHARS}, "minItems": 1, "maxItems": 5}
        elif "enum" not in value:
            value["maxLength"] = PHRASE_CHARS if name == "scene_subtype" else TEXT_CHARS
    return json.dumps(schema)
