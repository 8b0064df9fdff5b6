"""`launcher.py models`: the registry, and where the weights of its models are."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from beam_pipeline.cli.options import UsageError
from models.registry import REGISTRY, ModelCard, WeightsError, get_card, locate, models_folder, resolve_model
from models.registry.fetch import fetch_model

USAGE = "models list|fetch|verify"
HELP = "models, their licenses, and where their weights are"
DESCRIPTION = (
    "list: all models, their licenses, and where their weights are.\n"
    "fetch: downloads weights into the models folder ($SPATIALBEAM_MODELS, a folder or any fsspec URI).\n"
    "verify: checks the weights that are there; exits with 1 if any is damaged (with ids: or missing)."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the action, the models, and where to fetch from."""
    parser.add_argument("action", choices=("list", "fetch", "verify"))
    parser.add_argument("ids", nargs="*", metavar="ID", help="models; default: all (fetch: must be given)")
    parser.add_argument("--from", dest="from_uri", metavar="URI", help="fetch: a folder that holds the files instead")


def run(options: argparse.Namespace) -> int:
    """Lists, fetches or verifies models; returns 1 if weights are damaged."""
    console = Console()
    if options.action == "list":
        print_models(options.ids, console)
        return 0
    if options.action == "verify":
        return 0 if verify_models(options.ids, console) else 1
    if not options.ids:
        raise UsageError("fetch: name at least one model (launcher.py models list)")
    fetch_models(options.ids, options.from_uri, console)
    return 0


def print_models(model_ids: Sequence[str], console: Console) -> None:
    """Shows models, and where their weights would be taken from if no setting names them.

    Raises:
      WeightsError: for an unknown id.
    """
    table = Table()
    for name in ("model", "task", "license", "commercial use", "weights"):
        table.add_column(name, no_wrap=name == "model", overflow="fold")
    for card in _cards(model_ids):
        table.add_row(
            card.model_id, card.task, card.license, "yes" if card.commercial_use else "no", _find(card) or "missing"
        )
    console.print(table)
    console.print(f"models folder: {models_folder()}", markup=False, highlight=False, soft_wrap=True)


def verify_models(model_ids: Sequence[str], console: Console) -> bool:
    """Whether no weights are damaged; prints each model's state.

    Missing weights count only if their model is named.

    Raises:
      WeightsError: for an unknown id.
    """
    is_intact = True
    for card in _cards(model_ids):
        if not model_ids and _find(card) is None:
            continue
        try:
            digest = resolve_model(card).digest
            known = "as registered" if all(file.sha256 for file in card.files) else "no digest registered"
            line = f"{card.model_id}: ok, SHA-256 {digest[:16]}... ({known})"
        except WeightsError as error:
            is_intact, line = False, str(error)
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    return is_intact


def fetch_models(model_ids: Sequence[str], from_uri: str | None, console: Console) -> None:
    """Downloads the weights of models into the models folder, and prints each model's license.

    Raises:
      WeightsError: for an unknown id, or if a file cannot be downloaded or does not match its digest.
    """
    for card in _cards(model_ids):
        use = "commercial use allowed" if card.commercial_use else "no commercial use"
        console.print(f"{card.model_id}: license {card.license}, {use}. {card.notes}".rstrip(), highlight=False)
        for uri in fetch_model(card, from_uri):
            console.print(f"  {uri}", markup=False, highlight=False, soft_wrap=True)


def _cards(model_ids: Sequence[str]) -> list[ModelCard]:
    try:
        return [get_card(model_id) for model_id in model_ids] or list(REGISTRY.values())
    except ValueError as error:
        raise WeightsError(str(error)) from error


def _find(card: ModelCard) -> str | None:
    """Paths of a model's files; None if one is missing."""
    try:
        uris = [locate(card, file) for file in card.files]
    except WeightsError:
        return None
    if any(uri is None for uri in uris):
        return None
    return f"package {card.packaged.distribution}" if card.packaged is not None else uris[0]
