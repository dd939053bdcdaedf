"""Repositories of the Hugging Face Hub: SAEs by name, model cards, uploads. Without torch."""

from sae_bridge.hub.card import Card, EvaluatedRow, Evaluation, read_evaluation, verdict
from sae_bridge.hub.names import RepositoryName, is_repository_name, located
from sae_bridge.hub.upload import upload

__all__ = [
    "Card",
    "EvaluatedRow",
    "Evaluation",
    "RepositoryName",
    "is_repository_name",
    "located",
    "read_evaluation",
    "upload",
    "verdict",
]
