"""Draws docs/design.svg: the steps of a video and a clip, and the rooms' imports."""

from __future__ import annotations

from html import escape
from pathlib import Path

WIDTH, MARGIN = 900, 16
BOX_W, BOX_H, GAP = 136, 50, 10.4
INK, PALE = "#1f2933", "#9aa5b1"
COLORS = {
    "beam_pipeline": "#dbeafe",
    "explore": "#e0e7ff",
    "transforms": "#fef3c7",
    "models": "#dcfce7",
    "media": "#fee2e2",
    "storage": "#f3e8ff",
    "core": "#e5e7eb",
    "native": "#ffedd5",
}
# Rows of steps: name, what computes it, the room that it belongs to, whether it runs only where settings ask for it.
Step = tuple[str, str, str, bool]
VIDEO: list[Step] = [
    ("inputs", "files, manifests", "storage", False),
    ("ListVideos", "storage/sources", "storage", False),
    ("FetchVideo", "media/download", "media", False),
    ("ProbeVideo", "media/probe", "media", False),
    ("AnalyzeVideo", "models/video_analysis", "models", False),
    ("FanOutClips", "one record a clip", "transforms", False),
]
CLIP: list[list[Step]] = [
    [
        ("RejectEarly", "core/thresholds", "core", False),
        ("HashImages", "models/duplicates", "models", False),
        ("FindDuplicates", "models/duplicates", "models", False),
        ("RejectDuplicates", "core/thresholds", "core", False),
        ("ScoreText", "models/text", "models", False),
        ("ScoreAesthetic", "models/aesthetic", "models", True),
    ],
    [
        ("ApplyThresholds", "core/thresholds", "core", False),
        ("CutClips", "media/encode", "media", False),
        ("EstimateDepth", "models/depth", "models", True),
        ("TrackCameras", "models/slam", "models", True),
        ("EstimateGeometry", "models/annotation", "models", False),
        ("SegmentDynamics", "models/segmentation", "models", True),
    ],
    [
        ("LabelMotion", "models/captions", "models", False),
        ("RejectLate", "core/thresholds", "core", False),
        ("CaptionClips", "models/captions", "models", False),
        ("WriteDataset", "storage/tables", "storage", False),
        ("data set", "shards, tables", "storage", False),
        ("explore", "report, query, view", "explore", False),
    ],
]
LAYERS = (
    ("launcher.py", "the command line", "beam_pipeline", 46),
    ("beam_pipeline/", "graph, job, configuration · cli/ · runners/", "beam_pipeline", 46),
    ("transforms/", "PTransforms, run_stage · handlers/ (Beam ends here)", "transforms", 46),
    ("models/", "frames in, annotations out", "models", 150),
    ("media/", "probe, decode once, sample, cut, encode", "media", 46),
    ("storage/", "URIs, store, tables, shards", "storage", 46),
    ("core/", "records, time, cameras, thresholds, stage contract", "core", 46),
    ("native/", "C++ and CUDA kernels", "native", 46),
)
EXPLORE = (
    "explore/",
    "reads finished data sets,",
    "knows no Beam",
    "",
    "report · view · query",
    "stats · balance",
    "rethreshold · export",
)
MODELS = (
    "annotation",
    "segmentation · slam",
    "depth",
    "geometry",
    "sfm",
    "flow",
    "networks · registry",
)
BESIDE = ("video_analysis › shots", "text", "aesthetic", "duplicates", "captions › motion_labels")


class Drawing:
    """SVG elements in drawing order."""

    def __init__(self) -> None:
        self.parts: list[str] = []

    def box(self, x: float, y: float, w: float, h: float, fill: str, *, dashed: bool = False) -> None:
        dash = ' stroke-dasharray="5 3"' if dashed else ""
        self.parts.append(
            f'<rect x="{x:g}" y="{y:g}" width="{w:g}" height="{h:g}" rx="6" fill="{fill}" stroke="{INK}"{dash}/>'
        )

    def text(
        self, x: float, y: float, words: str, size: int = 13, *, bold: bool = False, anchor: str = "middle"
    ) -> None:
        weight = ' font-weight="600"' if bold else ""
        self.parts.append(
            f'<text x="{x:g}" y="{y:g}" font-size="{size}" text-anchor="{anchor}"{weight}>{escape(words)}</text>'
        )

    def arrow(self, *points: tuple[float, float], color: str = INK) -> None:
        path = " ".join(f"{x:g},{y:g}" for x, y in points)
        marker = "tip" if color == INK else "paletip"
        self.parts.append(
            f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="1.5" marker-end="url(#{marker})"/>'
        )

    def svg(self, height: float) -> str:
        tips = "".join(
            f'<marker id="{name}" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
            f'<path d="M0 0L8 4L0 8z" fill="{color}"/></marker>'
            for name, color in (("tip", INK), ("paletip", PALE))
        )
        head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:g}" width="{WIDTH}" '
            f'height="{height:g}" font-family="Helvetica, Arial, sans-serif" fill="{INK}">'
        )
        return "\n".join(
            [head, f"<defs>{tips}</defs>", '<rect width="100%" height="100%" fill="white"/>', *self.parts, "</svg>", ""]
        )


def draw_row(drawing: Drawing, steps: list[Step], y: float) -> None:
    """Draws steps from left to right with arrows between them."""
    for column, (name, does, room, optional) in enumerate(steps):
        x = MARGIN + column * (BOX_W + GAP)
        drawing.box(x, y, BOX_W, BOX_H, COLORS[room], dashed=optional)
        drawing.text(x + BOX_W / 2, y + 21, name, 12, bold=True)
        drawing.text(x + BOX_W / 2, y + 39, does, 11)
        if column:
            drawing.arrow((x - GAP, y + BOX_H / 2), (x - 1, y + BOX_H / 2))


def draw_flow(drawing: Drawing) -> float:
    """Draws the steps of a video and of a clip; returns the lower edge."""
    y = 40.0
    drawing.text(MARGIN, y - 14, "The way of a video: one decode", 15, bold=True, anchor="start")
    draw_row(drawing, VIDEO, y)
    for index, row in enumerate(CLIP):
        above = y + BOX_H
        y = above + (46 if index == 0 else 26)
        right, left = MARGIN + 5 * (BOX_W + GAP) + BOX_W / 2, MARGIN + BOX_W / 2
        turn = y - 13
        drawing.arrow((right, above), (right, turn), (left, turn), (left, y - 1))
        if index == 0:
            drawing.text(MARGIN, turn - 8, "The way of a clip", 15, bold=True, anchor="start")
        draw_row(drawing, row, y)
    y += BOX_H + 22
    notes = (
        "Color: the room that does the work; transforms/ puts each step into the graph. Dashed: only with a network.",
        "A step stores its result under (record key, stage digest); a stored result is a cache hit.",
        "Failed and rejected records pass through: each becomes a row of the tables.",
    )
    for number, line in enumerate(notes):
        drawing.text(MARGIN, y + 17 * number, line, 12, anchor="start")
    return y + 17 * len(notes)


def draw_rooms(drawing: Drawing, top: float) -> float:
    """Draws the rooms from the command line down to the kernels; returns the lower edge."""
    drawing.text(MARGIN, top, "The rooms: arrows are imports, and point down only", 15, bold=True, anchor="start")
    left, wide, y = 250.0, 400.0, top + 16
    middle = left + wide / 2
    tops: dict[str, float] = {}
    for name, holds, room, height in LAYERS:
        drawing.box(left, y, wide, height, COLORS[room])
        drawing.text(middle, y + 19, name, 14, bold=True)
        drawing.text(middle, y + 36, holds, 12)
        if name == "models/":
            draw_floors(drawing, left, y + 56)
        if tops:
            drawing.arrow((middle, y - 16), (middle, y - 1))
        tops[name] = y
        y += height + 17
    draw_explore(drawing, left, tops)
    for name, holds, above in (
        ("configs/", "embedded, annotate, spatialvid", tops["beam_pipeline/"]),
        ("tests/", "mirrors the rooms", tops["models/"]),
        ("benchmarks/", "every figure in the docs", tops["models/"] + 54),
        ("docs/ examples/ scripts/", "pages, a loader to copy, set-up", tops["models/"] + 108),
    ):
        right = left + wide + 34
        drawing.box(right, above, 200, 42, "#ffffff")
        drawing.text(right + 100, above + 18, name, 13, bold=True)
        drawing.text(right + 100, above + 34, holds, 11)
    beside = tops["beam_pipeline/"] + 21
    drawing.arrow((left + wide, beside), (left + wide + 33, beside), color=PALE)
    return y


def draw_floors(drawing: Drawing, left: float, top: float) -> None:
    """Draws the floors inside models/.

    Floors of annotation come with their arrow, others stand beside them.
    """
    for floor, words in enumerate(MODELS):
        drawing.text(left + 30, top + 14 * floor, words, 12, anchor="start")
    for floor, words in enumerate(BESIDE):
        drawing.text(left + 210, top + 14 * floor, words, 12, anchor="start")
    drawing.arrow((left + 18, top - 8), (left + 18, top + 14 * len(MODELS) - 12), color=PALE)


def draw_explore(drawing: Drawing, left: float, tops: dict[str, float]) -> None:
    """Draws explore/ beside the job.

    The command line calls it, and it reads finished data sets.
    """
    start, end, middle = tops["transforms/"], tops["media/"] - 17, MARGIN + 85
    drawing.box(MARGIN, start, 170, end - start, COLORS["explore"])
    for line, words in enumerate(EXPLORE):
        drawing.text(middle, start + 26 + 19 * line, words, 12 if line else 14, bold=not line)
    drawing.arrow((left, tops["beam_pipeline/"] + 23), (middle, tops["beam_pipeline/"] + 23), (middle, start - 1))
    drawing.arrow((middle, end), (middle, tops["media/"] + 23), (left - 1, tops["media/"] + 23))


def draw() -> str:
    """Returns the drawing as SVG."""
    drawing = Drawing()
    bottom = draw_rooms(drawing, draw_flow(drawing) + 24)
    return drawing.svg(bottom)


def main() -> None:
    """Writes docs/design.svg."""
    Path(__file__).with_name("design.svg").write_text(draw(), encoding="utf-8")


if __name__ == "__main__":
    main()
