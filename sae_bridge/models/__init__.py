"""Language models by name, folder or hub, what the machine has of them, and text that they sample."""

from sae_bridge.models.language_models import HOOKS, Hook, LanguageModel, checked_device, load_language_model
from sae_bridge.models.resources import BBC, OPTIONAL, RESOURCES, TEXT, fetch, find
from sae_bridge.models.sampling import sample_text

__all__ = [
    "BBC",
    "HOOKS",
    "OPTIONAL",
    "RESOURCES",
    "TEXT",
    "Hook",
    "LanguageModel",
    "checked_device",
    "fetch",
    "find",
    "load_language_model",
    "sample_text",
]
