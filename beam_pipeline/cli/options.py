"""Options that several commands share."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

from beam_pipeline.config import RUNNER_PROFILES, PipelineConfig, load_config, profiles
from beam_pipeline.job import default_output
from explore.warehouse import Disposition, load_clips
from storage.sources import SourceSpec, make_specs

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "videos"


class UsageError(ValueError):
    """Arguments that do not go together."""


def add_dataset_argument(parser: argparse.ArgumentParser) -> None:
    """Adds the folder of a finished run."""
    parser.add_argument("output", help="folder of a finished run (path or fsspec URI)")


def add_config_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds profile and overrides of the configuration."""
    parser.add_argument(
        "--config",
        metavar="PROFILE|FILE",
        help=f"profile ({', '.join(profiles())}) or YAML file; default: embedded (demo for the examples)",
    )
    parser.add_argument(
        "--set",
        dest="overrides",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="override one setting, e.g. --set thresholds.limits.motion_score.min=1 (repeatable)",
    )


def add_job_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds configuration, inputs, output and runner profile of a job."""
    add_config_arguments(parser)
    parser.add_argument(
        "--input",
        action="extend",
        nargs="+",
        default=[],
        metavar="URI",
        help="video file, folder, glob, or manifest (.csv, .parquet, .jsonl with a `uri` column and "
        "optional `id`; further columns are carried to the tables); local or any fsspec URI (several, or repeated). "
        "Default: the shipped examples",
    )
    parser.add_argument("--output", metavar="URI", help="folder of the data set; default: ./out")
    parser.add_argument(
        "--deploy",
        metavar="PROFILE|FILE",
        help=f"runner profile ({', '.join(RUNNER_PROFILES)}) or YAML file: engine, machines, prices",
    )


def job_inputs(options: argparse.Namespace) -> tuple[PipelineConfig, list[SourceSpec], str]:
    """Configuration, inputs and output folder of a job."""
    config_name = options.config
    if not options.input and config_name is None:
        config_name = "demo"
    config = load_config(config_name, options.overrides)
    found = make_specs(options.input or [str(EXAMPLES)])
    sources = [dataclasses.replace(source, url_schemes=config.run.url_schemes) for source in found]
    return config, sources, options.output or default_output()


def add_bigquery_options(parser: argparse.ArgumentParser) -> None:
    """Adds write disposition and location of a BigQuery table."""
    parser.add_argument(
        "--bigquery_write",
        choices=("merge", "replace"),
        default="merge",
        help="merge (default): rows of the same clip are replaced, others kept; replace: none but this run's are left",
    )
    parser.add_argument(
        "--bigquery_location", metavar="LOCATION", help="make the data set there (EU, US, ...) if there is none"
    )


def load_and_print(output_uri: str, table: str, disposition: Disposition, location: str | None) -> None:
    """Loads the clip table into BigQuery and prints the number of rows."""
    rows = load_clips(output_uri, table, disposition, location)
    print(f"{table}: {rows} clips loaded")


def add_clips_per_shard(parser: argparse.ArgumentParser) -> None:
    """Adds the size of new shards."""
    parser.add_argument("--clips-per-shard", type=int, default=500, metavar="N", help="clips in a new tar, on average")
