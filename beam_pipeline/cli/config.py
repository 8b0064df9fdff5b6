"""`launcher.py config`: the configuration, resolved."""

from __future__ import annotations

import argparse
import json

from beam_pipeline.cli.options import add_config_arguments
from beam_pipeline.config import PipelineConfig, load_config, to_yaml

USAGE = "config show|schema|validate"
HELP = "the configuration, resolved"
DESCRIPTION = "Shows, describes or checks the configuration."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the action and the configuration."""
    parser.add_argument("action", choices=("show", "schema", "validate"))
    add_config_arguments(parser)


def run(options: argparse.Namespace) -> int:
    """Prints the configuration, its JSON schema, or that it is valid."""
    if options.action == "schema":
        print(json.dumps(PipelineConfig.model_json_schema(), indent=2))
        return 0
    config = load_config(options.config, options.overrides)
    print(to_yaml(config).rstrip() if options.action == "show" else "the configuration is valid")
    return 0
