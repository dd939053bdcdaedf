"""How much of a text's label a few features hold, against coordinates, principal components and everything."""

from sae_bridge.probing.labelled import LabelledTexts, read_labelled
from sae_bridge.probing.pooled import Pooled, pooled
from sae_bridge.probing.probe import Probe, probes

__all__ = ["LabelledTexts", "Pooled", "Probe", "pooled", "probes", "read_labelled"]
