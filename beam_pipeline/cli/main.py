"""The commands of the launcher: parse, load, call, and turn errors into messages and exit codes."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from beam_pipeline.cli.models_command import fetch_models, print_models, verify_models
from beam_pipeline.config import RUNNER_PROFILES, ConfigError, PipelineConfig, load_config, profiles, to_yaml
from beam_pipeline.graph import make_stages
from beam_pipeline.job import RunError, default_output, run_job
from beam_pipeline.plan import make_plan, print_plan
from beam_pipeline.runners.engines import make_options
from beam_pipeline.runners.flink import RunnerError
from beam_pipeline.runners.runner_profile import add_options, load_runner_profile
from beam_pipeline.summary import print_summary
from explore.commands import COMMANDS as EXPLORE_COMMANDS
from explore.commands import add_bigquery_options, load_and_tell
from explore.outputs import OutputError
from explore.rethreshold import print_changes, rethreshold
from explore.warehouse import check_warehouse
from models.registry import WeightsError
from storage.sources import SourceError, SourceSpec, make_spec
from storage.uris import UriError

USER_ERRORS = (ConfigError, UriError, SourceError, OutputError, RunnerError, WeightsError)
EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "videos"
EXIT_FAILED, EXIT_USAGE = 1, 2
RUN_DESCRIPTION = """Raw video in, spatially annotated training data out.

commands:
  launcher.py [run] ...              run the job (default: the shipped examples into ./out)
  launcher.py plan ...               say what would run, and run nothing
  launcher.py config show|schema|validate
                                     the configuration, resolved
  launcher.py rethreshold OUT ...    other limits on the scores of a finished run
  launcher.py report OUT             rebuild the HTML report
  launcher.py view OUT               look at clips in a browser, in space and time
  launcher.py query OUT "SELECT .."  SQL over the tables clips, videos, shots, failures: rows to look at, a file,
                                     or a new data set of the clips that it names; --list: queries ready to use
  launcher.py load OUT TABLE         the clip table into BigQuery
  launcher.py stats OUT              counts, hours and spreads, as the paper gives them
  launcher.py balance OUT --count N  a subset balanced over tags and motion
  launcher.py export OUT ...         clips as SpatialVID, COLMAP, nerfstudio, rerun or CSV
  launcher.py download BASE ...      single clips of a published SpatialVID data set
  launcher.py models list|fetch|verify
                                     models, their licenses, and where their weights are

each has its own --help."""


def main(arguments: Sequence[str]) -> int:
    """Runs one command; returns the process's exit code."""
    commands = {
        "run": _run,
        "plan": _plan,
        "config": _config,
        "rethreshold": _rethreshold,
        "models": _models,
        **EXPLORE_COMMANDS,
    }
    name = arguments[0] if arguments and arguments[0] in commands else "run"
    rest = list(arguments[1:] if arguments and arguments[0] in commands else arguments)
    try:
        return commands[name](rest)
    except USER_ERRORS as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_USAGE
    except BrokenPipeError:
        # Whoever read our output has seen enough (`... | head`).
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except RunError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_FAILED


def _parser(name: str, description: str) -> argparse.ArgumentParser:
    return argparse.ArgumentParser(
        prog=f"launcher.py {name}".replace(" run", ""),
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def _add_config_arguments(parser: argparse.ArgumentParser) -> None:
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


def _add_job_arguments(parser: argparse.ArgumentParser) -> None:
    _add_config_arguments(parser)
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


def _add_deploy_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--deploy",
        metavar="PROFILE|FILE",
        help=f"runner profile ({', '.join(RUNNER_PROFILES)}) or YAML file: engine, machines, prices",
    )


def _job_inputs(options: argparse.Namespace) -> tuple[PipelineConfig, list[SourceSpec], str]:
    config_name = options.config
    if not options.input and config_name is None:
        config_name = "demo"
    config = load_config(config_name, options.overrides)
    sources = [make_spec(uri) for uri in options.input or [str(EXAMPLES)]]
    return config, sources, options.output or default_output()


def _run(arguments: list[str]) -> int:
    parser = _parser("run", RUN_DESCRIPTION)
    _add_job_arguments(parser)
    _add_deploy_argument(parser)
    parser.add_argument("--no-progress", action="store_true", help="no live progress display")
    parser.add_argument("--bigquery_table", metavar="PROJECT:DATASET.TABLE", help="load the clip table at the end")
    add_bigquery_options(parser)
    parser.epilog = (
        "All other options go to Apache Beam: --runner=DirectRunner (default), --direct_num_workers=N, "
        "--direct_running_mode=in_memory|multi_threading|multi_processing, ..."
    )
    options, beam_arguments = parser.parse_known_args(arguments)
    if options.bigquery_table:
        check_warehouse(options.bigquery_table, options.bigquery_location)
    config, sources, output = _job_inputs(options)
    deploy = load_runner_profile(options.deploy)
    stages = make_stages(config)
    beam_options = make_options(add_options(deploy, beam_arguments), share_models=stages.need_gpu)
    result = run_job(
        config, sources, output, beam_options, stages=stages, deploy=deploy, show_progress=not options.no_progress
    )
    print_summary(result, Console())
    if options.bigquery_table:
        load_and_tell(result.output_uri, options.bigquery_table, options.bigquery_write, options.bigquery_location)
    return 0


def _plan(arguments: list[str]) -> int:
    parser = _parser("plan", "Says what would run: videos, hours, stages, models, output. Runs nothing.")
    _add_job_arguments(parser)
    _add_deploy_argument(parser)
    options, _ = parser.parse_known_args(arguments)
    config, sources, output = _job_inputs(options)
    print_plan(make_plan(config, sources, output, load_runner_profile(options.deploy)), Console())
    return 0


def _config(arguments: list[str]) -> int:
    parser = _parser("config", "Shows, describes or checks the configuration.")
    parser.add_argument("action", choices=("show", "schema", "validate"))
    _add_config_arguments(parser)
    options = parser.parse_args(arguments)
    if options.action == "schema":
        print(json.dumps(PipelineConfig.model_json_schema(), indent=2))
        return 0
    config = load_config(options.config, options.overrides)
    print(to_yaml(config).rstrip() if options.action == "show" else "the configuration is valid")
    return 0


def _rethreshold(arguments: list[str]) -> int:
    parser = _parser(
        "rethreshold",
        "Applies other limits to the scores of a finished run and reports what would change.\n"
        "Nothing is decoded. With --write the new verdicts go to a Parquet file.",
    )
    parser.add_argument("output", help="folder of a finished run")
    _add_config_arguments(parser)
    parser.add_argument("--write", metavar="FILE", help="write the clip table with the new verdicts")
    options = parser.parse_args(arguments)
    config = load_config(options.config, options.overrides)
    print_changes(rethreshold(options.output, config.thresholds, options.write), Console())
    return 0


def _models(arguments: list[str]) -> int:
    parser = _parser(
        "models",
        "list: all models, their licenses, and where their weights are.\n"
        "fetch: downloads weights into the models folder ($SPATIALBEAM_MODELS, a folder or any fsspec URI).\n"
        "verify: checks the weights that are there; exits with 1 if any is damaged (with ids: or missing).",
    )
    parser.add_argument("action", choices=("list", "fetch", "verify"))
    parser.add_argument("ids", nargs="*", metavar="ID", help="models; default: all (fetch: must be given)")
    parser.add_argument("--from", dest="from_uri", metavar="URI", help="fetch: a folder that holds the files instead")
    options = parser.parse_args(arguments)
    if options.action == "list":
        print_models(options.ids, Console())
        return 0
    if options.action == "verify":
        return 0 if verify_models(options.ids, Console()) else EXIT_FAILED
    if not options.ids:
        parser.error("fetch: name at least one model (launcher.py models list)")
    fetch_models(options.ids, options.from_uri, Console())
    return 0
