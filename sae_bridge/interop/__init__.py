"""SAEs of other libraries, and ours for them. Neither library is needed, but for :mod:`sae_bridge.interop.native`."""

from sae_bridge.interop._folders import Part, positive, read_configuration, write_folder
from sae_bridge.interop._metadata import fields_of_hookpoint, fields_of_saelens, saelens_metadata
from sae_bridge.interop._parts import ImportedTensors
from sae_bridge.interop.dictionary_learning import export_dictionary_learning, import_dictionary_learning
from sae_bridge.interop.imported import ImportedSAE, decoded
from sae_bridge.interop.loading import load_any
from sae_bridge.interop.native_files import export_native
from sae_bridge.interop.saebench import SAEBenchConfiguration, SAEBenchSAE, saebench_sae
from sae_bridge.interop.saelens import export_saelens, import_saelens
from sae_bridge.interop.sparsify import export_sparsify, import_sparsify

__all__ = [
    "ImportedSAE",
    "ImportedTensors",
    "Part",
    "SAEBenchConfiguration",
    "SAEBenchSAE",
    "decoded",
    "export_dictionary_learning",
    "export_native",
    "export_saelens",
    "export_sparsify",
    "fields_of_hookpoint",
    "fields_of_saelens",
    "import_dictionary_learning",
    "import_saelens",
    "import_sparsify",
    "load_any",
    "positive",
    "read_configuration",
    "saebench_sae",
    "saelens_metadata",
    "write_folder",
]
