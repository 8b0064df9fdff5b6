"""Sample images in a store, good and bad."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from core.references import Ref
from storage.store import Store
from transforms.handlers.images import ClipImages


def jpeg(text: str, seed: int) -> bytes:
    rng = np.random.default_rng(seed)
    image = Image.fromarray(rng.integers(60, 180, (4, 6, 3), dtype=np.uint8)).resize((320, 180))
    draw = ImageDraw.Draw(image)
    draw.text((30, 120), text, font=ImageFont.load_default(28), fill="white", stroke_width=1, stroke_fill=0)
    data = io.BytesIO()
    image.save(data, "JPEG", quality=92)
    return data.getvalue()


@pytest.fixture
def examples(tmp_path) -> tuple[str, dict[str, ClipImages]]:
    """A store with good clips, and clips with one bad image each."""
    store = Store(str(tmp_path / "store"))

    def put(name: str, data: bytes) -> Ref:
        return store.write_bytes(f"samples/{name}.jpg", data, "image/jpeg")

    plain, words = put("plain", jpeg("", 1)), put("words", jpeg("words to find", 2))
    not_jpeg = put("text", b"this is no image")
    cut_off = put("cut", jpeg("", 3)[:100])
    changed = put("changed", jpeg("", 4))
    store.write_bytes("samples/changed.jpg", jpeg("", 5), "image/jpeg")
    gone = Ref(path="samples/gone.jpg", size_bytes=9, digest="0" * 32, media_type="image/jpeg")
    clips = {
        "plain": (plain, plain),
        "words": (plain, words, plain),
        "empty": (),
        "gone": (plain, gone),
        "text": (not_jpeg, plain),
        "cut": (plain, cut_off),
        "changed": (changed,),
    }
    return store.root_uri, {k: ClipImages(clip_id=k, images=v) for k, v in clips.items()}
