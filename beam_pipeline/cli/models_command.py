"""What `launcher.py models` shows and does: the registry beside the weights that are there."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from models.registry import REGISTRY, ModelCard, WeightsError, get_card, locate, models_folder, resolve_model
from models.registry.fetch import fetch_model


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
            card.model_id, card.task, card.license, "yes" if card.commercial_use else "no", _where(card) or "missing"
        )
    console.print(table)
    console.print(f"models folder: {models_folder()}", markup=False, highlight=False, soft_wrap=True)


def verify_models(model_ids: Sequence[str], console: Console) -> bool:
    """Checks weights and says what was found; true if nothing is wrong. Missing ones are wrong only if named.

    Raises:
      WeightsError: for an unknown id.
    """
    is_right = True
    for card in _cards(model_ids):
        if not model_ids and _where(card) is None:
            continue
        try:
            digest = resolve_model(card).digest
            known = "as registered" if all(file.sha256 for file in card.files) else "no digest registered"
            line = f"{card.model_id}: ok, SHA-256 {digest[:16]}... ({known})"
        except WeightsError as error:
            is_right, line = False, str(error)
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    return is_right


def fetch_models(model_ids: Sequence[str], from_uri: str | None, console: Console) -> None:
    """Puts the weights of models into the models folder, each with its license said.

    Raises:
      WeightsError: for an unknown id, or if a file cannot be had or is another one than the registered.
    """
    for card in _cards(model_ids):
        use = "commercial use allowed" if card.commercial_use else "no commercial use"
        console.print(f"{card.model_id}: license {card.license}, {use}. {card.notes}".rstrip(), highlight=False)
        for place in fetch_model(card, from_uri):
            console.print(f"  {place}", markup=False, highlight=False, soft_wrap=True)


def _cards(model_ids: Sequence[str]) -> list[ModelCard]:
    try:
        return [get_card(model_id) for model_id in model_ids] or list(REGISTRY.values())
    except ValueError as error:
        raise WeightsError(str(error)) from error


def _where(card: ModelCard) -> str | None:
    """Where all of a model's files are; None if one is missing."""
    try:
        places = [locate(card, file) for file in card.files]
    except WeightsError:
        return None
    if any(place is None for place in places):
        return None
    return f"package {card.packaged.distribution}" if card.packaged is not None else places[0]
