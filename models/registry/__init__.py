"""Registry of models: what each computes, its source, license, and where its weights are."""

from models.registry.cards import HubRepo, ModelCard, PackageFile, WeightsError, WeightsFile
from models.registry.resolve import (
    CACHE_VARIABLE,
    MODELS_VARIABLE,
    ResolvedModel,
    locate,
    models_folder,
    resolve_model,
    resolve_weights,
)
from models.registry.table import (
    REGISTRY,
    get_card,
    model_ids,
)

__all__ = [
    "CACHE_VARIABLE",
    "MODELS_VARIABLE",
    "REGISTRY",
    "HubRepo",
    "ModelCard",
    "PackageFile",
    "ResolvedModel",
    "WeightsError",
    "WeightsFile",
    "get_card",
    "locate",
    "model_ids",
    "models_folder",
    "resolve_model",
    "resolve_weights",
]
