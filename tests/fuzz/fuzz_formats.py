"""The formats that the fuzz harness damages, by name."""

from __future__ import annotations

from fuzz_activations import LossFields, Store, TextLines
from fuzz_ledgers import OldSuite, OldSweep, Suite, Sweep
from fuzz_saes import (
    CheckpointFile,
    PackedSae,
    PackedSupports,
    SaeFolder,
    SaeLens,
    SaeLensNative,
    SaeLensThreshold,
    Sparsify,
)
from fuzz_theory_files import Certificate, DictionaryFile, FiringRates, FiringTensors, Manifest, MaskFile, Npy, Report

FORMATS = {
    "ledger of a sweep": Sweep,
    "old ledger of a sweep": OldSweep,
    "ledger of SAEs": Suite,
    "old ledger of SAEs": OldSuite,
    "mask": MaskFile,
    "dictionary": DictionaryFile,
    "SAE": SaeFolder,
    "packed SAE": PackedSae,
    "packed SAE with supports": PackedSupports,
    "SAELens": SaeLens,
    "SAELens with threshold": SaeLensThreshold,
    "SAELens with mask": SaeLensNative,
    "sparsify": Sparsify,
    "checkpoint": CheckpointFile,
    "activations": Store,
    "certificate": Certificate,
    "manifest": Manifest,
    "certificate in a report": Report,
    "npy": Npy,
    "firing rates": FiringRates,
    "firing tensors": FiringTensors,
    "losses": LossFields,
    "text": TextLines,
}
