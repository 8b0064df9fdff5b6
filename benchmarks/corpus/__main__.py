"""Every clip of a corpus of public test assets, compared frame by frame with FFmpeg's own decoding of its source.

    python -m benchmarks.corpus --folder CORPUS                       # downloads the files of files.csv, about 65 MB
    python -m benchmarks.corpus --folder CORPUS --clones CLONES       # takes them from Git clones named owner+name

The job is run by the user's command with config.yaml: every clip is cut. Frames are converted to RGB by FFmpeg's own
program, sources by their tags or, untagged, by the rule of docs/color.md; clips by the tags that they carry. A clip is
off by one if it is nearer to the source's neighboring frames than to its own.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tarfile
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from benchmarks.corpus.compare import ClipComparison, compare_clip, open_source
from benchmarks.corpus.files import Asset, fetch_asset, load_assets
from benchmarks.measure import ROOT, markdown_table
from media.probe import probe_video

CONFIG = Path(__file__).with_name("config.yaml")
MAX_S = 4.0
MAX_BIAS = 0.5


@dataclass(slots=True, kw_only=True)
class AssetResult:
    """What became of one file.

    Attributes:
      asset: the file.
      failure: class and message of the failure; None if the job took the file.
      num_frames: frames of the videos table, and as FFmpeg's program decodes them.
      clips: comparisons of its clips.
      failed_clips: classes of clips that failed.
      long_clips: clips longer than allowed.
    """

    asset: Asset
    failure: tuple[str, str] | None = None
    num_frames: tuple[int, int] = (0, 0)
    clips: list[ClipComparison] = field(default_factory=list)
    failed_clips: list[str] = field(default_factory=list)
    long_clips: int = 0


def run_job(folder: Path, output: Path) -> None:
    """The job by the user's command; some inputs fail, so its exit status may tell of failures."""
    command = [sys.executable, str(ROOT / "launcher.py"), "--config", str(CONFIG), "--no-progress"]
    command += ["--set", "run.max_failed_share=1", "--input", str(folder), "--output", str(output)]
    subprocess.run(command, cwd=ROOT, check=False)


def compare_asset(
    asset: Asset, path: Path, video: dict[str, Any], clips: list[dict[str, Any]], work: Path
) -> AssetResult:
    """Comparison of all clips of one file."""
    result = AssetResult(asset=asset)
    if video["status"] != "done":
        result.failure = (video["failure_class"], video["failure_message"])
        return result
    with open_source(path, video, probe_video(str(path)).stream_index) as source:
        for clip in sorted(clips, key=lambda row: int(row["start_frame"])):
            if clip["status"] != "kept":
                result.failed_clips.append(clip["failure_class"] or str(clip["rejection_reasons"]))
                continue
            result.long_clips += clip["clip_duration_s"] > MAX_S + 1e-6
            clip_path = work / clip["video_path"]
            span = clip["start_frame"], clip["end_frame"]
            result.clips.append(compare_clip(clip["clip_id"], clip_path, source, *span))
        result.num_frames = (video["num_frames"], source.count())
    return result


def extract_clips(output: Path, work: Path) -> None:
    """Writes the clips of all shards into a folder."""
    for shard in sorted((output / "shards").glob("*.tar")):
        with tarfile.open(shard) as tar:
            for member in tar:
                if member.name.endswith(".mp4"):
                    tar.extract(member, work, filter="data")


def read_rows(output: Path, table: str) -> list[dict[str, Any]]:
    """Rows of a table of the data set."""
    rows: list[dict[str, Any]] = pq.read_table(output / f"{table}.parquet").to_pylist()
    return rows


def summary_table(results: list[AssetResult]) -> str:
    """One row per repository, and one for all."""
    groups: dict[str, list[AssetResult]] = defaultdict(list)
    for result in results:
        groups[result.asset.repository].append(result)
    rows = [_summary_row(name, group) for name, group in sorted(groups.items())]
    rows.append(_summary_row("all", results))
    head = ("repository", "files", "read", "clips", "frames", "off by one", "shifted frames", "frames missing",
            "bias above 0.5", f"longer than {MAX_S:g} s", "clips failed", "files failed")  # fmt: skip
    return markdown_table(head, rows)


def _summary_row(name: str, results: list[AssetResult]) -> tuple[str, ...]:
    clips = [clip for result in results for clip in result.clips]
    numbers = (
        len(results),
        sum(result.failure is None for result in results),
        len(clips),
        sum(clip.num_frames for clip in clips),
        sum(clip.is_off_by_one for clip in clips),
        sum(clip.shifted_frames for clip in clips),
        sum(clip.missing_frames for clip in clips),
        sum(clip.max_bias > MAX_BIAS for clip in clips),
        sum(result.long_clips for result in results),
        sum(len(result.failed_clips) for result in results),
        sum(result.failure is not None for result in results),
    )
    return (name, *(str(number) for number in numbers))


def findings(results: list[AssetResult]) -> list[str]:
    """A line for each thing that is not as it should be, and for each failure class."""
    lines = []
    for result in results:
        name = f"{result.asset.repository}/{result.asset.path}"
        if result.failure is None and result.num_frames[0] != result.num_frames[1]:
            lines.append(f"{name}: {result.num_frames[0]} frames, FFmpeg's program gives {result.num_frames[1]}")
        lines += [f"{name}: clip failed: {cause}" for cause in result.failed_clips]
        for clip in result.clips:
            if clip.is_off_by_one or clip.shifted_frames or clip.missing_frames or clip.max_bias > MAX_BIAS:
                lines.append(f"{name}: {clip}")
    classes = Counter(result.failure[0] for result in results if result.failure)
    lines += [f"failed files: {name} {count}" for name, count in sorted(classes.items())]
    lines += [f"{r.asset.repository}/{r.asset.path}: {r.failure[0]}: {r.failure[1]}" for r in results if r.failure]
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, help="where files, data set and clips are written")
    parser.add_argument("--clones", type=Path, help="folder of Git clones named owner+name; default: download")
    parser.add_argument("--only", default="", help="only files whose repository or path holds this text")
    parser.add_argument("--compare", action="store_true", help="compare an earlier job's output again")
    options = parser.parse_args()
    sources, output, work = (options.folder / name for name in ("sources", "output", "clips"))
    sources.mkdir(parents=True, exist_ok=True)
    assets = [a for a in load_assets() if options.only in f"{a.repository}/{a.path}"]
    paths = {str(fetch_asset(asset, sources, options.clones)): asset for asset in assets}
    if not options.compare:
        run_job(sources, output)
    extract_clips(output, work)
    clips: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in read_rows(output, "clips"):
        clips[row["source_uri"]].append(row)
    videos = {row["source_uri"]: row for row in read_rows(output, "videos")}
    results = [
        compare_asset(asset, Path(path), videos[path], clips[path], work) for path, asset in sorted(paths.items())
    ]
    print(summary_table(results), *findings(results), sep="\n")


if __name__ == "__main__":
    main()
