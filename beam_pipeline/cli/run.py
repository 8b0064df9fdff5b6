"""`launcher.py run`: the job."""

from __future__ import annotations

import argparse

from rich.console import Console

from beam_pipeline.cli.options import add_bigquery_options, add_job_arguments, job_inputs, load_and_print
from beam_pipeline.graph import make_stages
from beam_pipeline.job import run_job
from beam_pipeline.runners.engines import make_options
from beam_pipeline.runners.runner_profile import add_options, load_runner_profile
from beam_pipeline.summary import print_summary
from explore.warehouse import check_warehouse

USAGE = "[run] ..."
HELP = "run the job (default: the shipped examples into ./out)"
DESCRIPTION = "Raw video in, spatially annotated training data out."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of the job; all others go to Beam."""
    add_job_arguments(parser)
    parser.add_argument(
        "--trust-output",
        action="store_true",
        help="believe stored files and shards of earlier runs by their size; by default they are read and checked "
        "against their digest (about a second a gigabyte)",
    )
    parser.add_argument("--no-progress", action="store_true", help="no live progress display")
    parser.add_argument("--bigquery_table", metavar="PROJECT:DATASET.TABLE", help="load the clip table at the end")
    add_bigquery_options(parser)
    parser.epilog = (
        "All other options go to Apache Beam: --runner=DirectRunner (default), --direct_num_workers=N, "
        "--direct_running_mode=in_memory|multi_threading|multi_processing, ... Exit codes: 0 done; 1 the job failed or "
        "its totals do not balance; 2 wrong arguments or inputs; 3 a fault of the machine, such as a full disk."
    )


def run(options: argparse.Namespace) -> int:
    """Runs the job, prints its summary, and loads the clip table on request."""
    if options.bigquery_table:
        check_warehouse(options.bigquery_table, options.bigquery_location)
    config, sources, output = job_inputs(options)
    deploy = load_runner_profile(options.deploy)
    stages = make_stages(config)
    beam_options = make_options(add_options(deploy, options.beam_arguments), share_models=stages.need_gpu)
    result = run_job(
        config,
        sources,
        output,
        beam_options,
        stages=stages,
        deploy=deploy,
        show_progress=not options.no_progress,
        trust_output=options.trust_output,
    )
    print_summary(result, Console())
    if options.bigquery_table:
        load_and_print(result.output_uri, options.bigquery_table, options.bigquery_write, options.bigquery_location)
    return 0
