"""The command line: dispatches commands and turns errors into messages and exit codes."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from typing import NoReturn, Protocol

from beam_pipeline.cli import (
    balance,
    config,
    download,
    export,
    load,
    models,
    plan,
    query,
    report,
    rethreshold,
    run,
    stats,
    verify,
    view,
)
from beam_pipeline.cli.options import UsageError
from beam_pipeline.config import ConfigError
from beam_pipeline.job import MachineError, RunError
from beam_pipeline.runners.flink import RunnerError
from explore.outputs import OutputError
from models.registry import WeightsError
from storage.sources import SourceError
from storage.uris import UriError

USER_ERRORS = (ConfigError, UriError, SourceError, OutputError, RunnerError, WeightsError)
EXIT_FAILED, EXIT_USAGE, EXIT_MACHINE = 1, 2, 3
_HELP_COLUMN = 37


class Command(Protocol):
    """Interface of a command's module.

    Attributes:
      USAGE: the command with its main arguments, for the list of commands.
      HELP: what it does, for the same list; may have several lines.
      DESCRIPTION: the head of its own `--help`.
    """

    USAGE: str
    HELP: str
    DESCRIPTION: str

    def add_arguments(self, parser: argparse.ArgumentParser) -> None: ...

    def run(self, options: argparse.Namespace) -> int:
        """Runs the command and returns its exit code. Raises `UsageError` as `argparse` refuses arguments."""
        ...


COMMANDS: Mapping[str, Command] = {
    "run": run,
    "plan": plan,
    "config": config,
    "rethreshold": rethreshold,
    "verify": verify,
    "report": report,
    "view": view,
    "query": query,
    "load": load,
    "stats": stats,
    "balance": balance,
    "export": export,
    "download": download,
    "models": models,
}
_TAKE_BEAM_OPTIONS = ("run", "plan")


def main(arguments: Sequence[str]) -> int:
    """Runs one command and returns the exit code of the process."""
    is_named = bool(arguments) and arguments[0] in COMMANDS
    name = arguments[0] if is_named else "run"
    try:
        return _run_command(name, arguments[1:] if is_named else arguments)
    except USER_ERRORS as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_USAGE
    except BrokenPipeError:
        # Whoever read our output has seen enough (`... | head`).
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except MachineError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_MACHINE
    except RunError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_FAILED


def _run_command(name: str, arguments: Sequence[str]) -> int:
    command = COMMANDS[name]
    parser = argparse.ArgumentParser(
        prog="launcher.py" if name == "run" else f"launcher.py {name}",
        description=command.DESCRIPTION + _list_commands() if name == "run" else command.DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_arguments(parser)
    options, beam_arguments = parser.parse_known_args(arguments)
    if beam_arguments and name not in _TAKE_BEAM_OPTIONS:
        parser.error(f"unrecognized arguments: {' '.join(beam_arguments)}")
    options.beam_arguments = beam_arguments
    try:
        return command.run(options)
    except UsageError as error:
        parser.error(str(error))


def _list_commands() -> str:
    lines = []
    for command in COMMANDS.values():
        usage = f"  launcher.py {command.USAGE}"
        if len(usage) >= _HELP_COLUMN:
            lines.append(usage)
            usage = ""
        for line in command.HELP.splitlines():
            lines.append(f"{usage:{_HELP_COLUMN}}{line}")
            usage = ""
    return "\n\ncommands:\n" + "\n".join(lines) + "\n\neach has its own --help."


def run_process() -> NoReturn:
    """Runs the command of this process's arguments and ends the process with its exit code."""
    try:
        code = main(sys.argv[1:])
    except SystemExit as request:
        code = request.code if isinstance(request.code, int) else 2 * bool(request.code)
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    # All results are on disk. Ending here spares the tear-down of native libraries whose threads still run,
    # which now and then aborts a process that had succeeded.
    os._exit(code)
