"""The text model: the packaged detector's boxes, and shares of drawn and real images."""

import weakref
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from models.text.scorer import TextModel, TextSettings, detector_size
from tests.support.paths import DATA, NO_DATA

pytestmark = pytest.mark.slow


def background(size: tuple[int, int] = (640, 360), seed: int = 0) -> Image.Image:
    """A smooth colored background without text."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(40, 200, (4, 6, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)


def write(image: Image.Image, text: str, xy: tuple[int, int], height: int) -> tuple[int, int, int, int]:
    """Draws a line of text and returns its bounding box."""
    draw = ImageDraw.Draw(image)
    font = ImageFont.load_default(height)
    draw.text(xy, text, font=font, fill="white", stroke_width=1, stroke_fill="black")
    left, top, right, bottom = draw.textbbox(xy, text, font=font)
    return int(left), int(top), int(right), int(bottom)


def sample_images() -> list[np.ndarray]:
    """Images of several sizes with upright, slanted and no text."""
    subtitle = background(seed=1)
    write(subtitle, "A subtitle that runs along the bottom", (60, 310), 28)
    write(subtitle, "TITLE", (200, 60), 70)
    slanted = background(seed=2)
    write(slanted, "slanted words here", (150, 150), 40)
    slanted = slanted.rotate(17, fillcolor=(90, 90, 90))
    portrait = background((270, 480), seed=3)
    write(portrait, "portrait", (30, 200), 44)
    return [np.asarray(p) for p in (subtitle, slanted, portrait, background(seed=4))]


@pytest.fixture(scope="module")
def model() -> TextModel:
    return TextModel(TextSettings())


@pytest.mark.parametrize(
    ("image_size", "limit", "expected"),
    [
        ((640, 360), (640, "max"), (640, 352)),
        ((1920, 1080), (640, "max"), (640, 352)),
        ((360, 640), (640, "max"), (352, 640)),
        ((320, 180), (640, "max"), (320, 192)),
        ((640, 360), (736, "min"), (1312, 736)),
        ((1280, 720), (736, "min"), (1312, 736)),
        ((1920, 1080), (736, "min"), (1920, 1088)),
        ((1, 1), (640, "max"), (32, 32)),
        ((4000, 3), (640, "max"), (640, 32)),
        ((2000, 20), (736, "min"), (4000, 32)),
    ],
)
def test_detector_sizes(image_size, limit, expected):
    assert detector_size(image_size, *limit) == expected


@pytest.mark.parametrize(("limit_px", "limit_type"), [(640, "max"), (320, "max"), (736, "min")])
def test_boxes_equal_those_of_the_packaged_detector(limit_px, limit_type):
    rapidocr = pytest.importorskip("rapidocr")
    engine = rapidocr.RapidOCR(
        params={
            "Global.log_level": "error",
            "Det.limit_type": limit_type,
            "Det.limit_side_len": limit_px,
            "Det.box_thresh": 0.6,
            "Det.unclip_ratio": 1.5,
            "Det.use_dilation": False,
            "Det.mean": [0.485, 0.456, 0.406],
            "Det.std": [0.229, 0.224, 0.225],
            "EngineConfig.onnxruntime.intra_op_num_threads": 1,
        }
    )
    reference = engine._load_det_model()
    settings = TextSettings(limit_side_len_px=limit_px, limit_type=limit_type, confirm_side_share=None)
    model = TextModel(settings)
    counts = []
    for image in sample_images():
        found = model.find_text(image)
        expected = reference(np.ascontiguousarray(image[..., ::-1]))
        boxes = np.zeros((0, 4, 2)) if expected.boxes is None else np.asarray(expected.boxes)
        counts.append(len(boxes))
        limits = (image.shape[1] - 1, image.shape[0] - 1)
        ours = np.clip(np.round(found.quads_px), 0, limits)
        hulls = [np.concatenate([q.min(axis=1), q.max(axis=1)], axis=1) for q in (ours, boxes)]
        assert len(hulls[0]) == len(hulls[1])
        if len(hulls[0]):
            distances = np.abs(hulls[0][:, None] - hulls[1][None]).max(axis=2)
            assert distances.min(axis=1).max() <= 1
            assert distances.min(axis=0).max() <= 1
    assert counts[0] >= 2
    assert counts[2] >= 1


def test_the_share_of_drawn_text_is_near_its_bounding_boxes(model):
    image = background(seed=5)
    boxes = [
        write(image, "BREAKING NEWS", (40, 40), 60),
        write(image, "something happened somewhere today", (40, 290), 30),
    ]
    truth = sum((r - left) * (b - top) for left, top, r, b in boxes) / (640 * 360)
    share = model.text_share(np.asarray(image))
    assert truth * 0.8 < share < truth * 1.6


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((360, 640, 3), np.uint8),
        np.full((360, 640, 3), 255, np.uint8),
        np.asarray(background(seed=6)),
        np.random.default_rng(0).integers(0, 256, (360, 640, 3), dtype=np.uint8),
        np.zeros((1, 1, 3), np.uint8),
    ],
    ids=["black", "white", "smooth", "noise", "one pixel"],
)
def test_images_without_text_have_no_share(model, image):
    assert model.text_share(image) == 0.0


def test_huge_letters_count(model):
    image = background(seed=7)
    write(image, "SALE", (90, 60), 200)
    assert model.text_share(np.asarray(image)) > 0.15


def test_a_large_box_that_cannot_be_read_does_not_count_and_small_ones_are_not_asked():
    class Unreadable:
        asked = 0

        def legibility(self, image, quad):
            self.asked += 1
            return 0.2

    image = background(seed=7)
    write(image, "SALE", (90, 20), 200)
    write(image, "small print at the bottom", (200, 320), 24)
    model = TextModel(TextSettings())
    model._reader = Unreadable()
    found = model.find_text(np.asarray(image))
    assert model._reader.asked == 1
    assert len(found) == 1
    assert found.quads_px[0, :, 1].min() > 300


def test_an_animal_is_no_text():
    av = pytest.importorskip("av")
    path = DATA / "masks" / "davis_blackswan" / "video.mp4"
    if not path.exists():
        pytest.skip(NO_DATA)
    with av.open(str(path)) as container:
        frames = [f.to_ndarray(format="rgb24") for f in container.decode(video=0)][12:49:12]
    (fooled,) = TextModel(TextSettings(confirm_side_share=None)).score_clips([frames], [(854, 480)])
    assert fooled > 0.5
    assert TextModel(TextSettings()).score_clips([frames], [(854, 480)])[0] < 0.001


@pytest.mark.parametrize(
    ("file", "frame", "least"),
    [("googlework_short.mp4", 660, 0.03), ("bbb_0_30.webm", 650, 0.1), ("psd_testvideo.mp4", 300, 0.02)],
)
def test_text_in_real_images_is_found(model, file, frame, least):
    av = pytest.importorskip("av")
    path = DATA / "videos" / file
    if not path.exists():
        pytest.skip(NO_DATA)
    with av.open(str(path)) as container:
        image = next(islice(container.decode(video=0), frame, None)).to_image()
    image.thumbnail((640, 640))
    assert model.text_share(np.asarray(image)) > least


def test_a_clip_has_the_largest_share_of_its_images(model):
    with_text, _, _, without = sample_images()
    scores = model.score_clips([[without, with_text, without], [without]], [(640, 360)] * 2)
    assert scores == [model.text_share(with_text), 0.0]
    assert scores[0] > 0


def test_parity_divides_by_the_sources_area():
    model = TextModel(TextSettings(parity=True, confirm_side_share=None))
    image = sample_images()[0]
    same = model.text_share(image, (640, 360))
    assert same > 0
    assert model.text_share(image, (1280, 720)) == pytest.approx(same / 4)
    with pytest.raises(ValueError, match=r"text\.parity"):
        model.text_share(image)


def test_wrong_arrays_are_refused(model):
    for image in (
        np.zeros((10, 10), np.uint8),
        np.zeros((10, 10, 3), np.float32),
        np.zeros((0, 10, 3), np.uint8),
    ):
        with pytest.raises(ValueError, match="RGB image"):
            model.text_share(image)


def test_a_model_serves_threads_and_repeats_itself(model):
    images = sample_images()
    expected = [model.find_text(p).quads_px.tobytes() for p in images]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda p: model.find_text(p).quads_px.tobytes(), images * 3))
    assert found == expected * 3
    assert TextModel(TextSettings()).find_text(images[0]).quads_px.tobytes() == expected[0]


def test_a_model_can_be_referred_to_weakly(model):
    assert weakref.ref(model)() is model
