"""`launcher.py plan`: what a run would do."""

from __future__ import annotations

import argparse

from rich.console import Console

from beam_pipeline.cli.options import add_job_arguments, job_inputs
from beam_pipeline.plan import make_plan, print_plan
from beam_pipeline.runners.runner_profile import load_runner_profile

USAGE = "plan ..."
HELP = "say what would run, and run nothing"
DESCRIPTION = "Says what would run: videos, hours, stages, models, output. Runs nothing."

add_arguments = add_job_arguments


def run(options: argparse.Namespace) -> int:
    """Prints the plan of a job; options of Beam are ignored."""
    config, sources, output = job_inputs(options)
    print_plan(make_plan(config, sources, output, load_runner_profile(options.deploy)), Console())
    return 0
