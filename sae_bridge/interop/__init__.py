"""SAEs of other libraries, and ours for them. Neither library is needed, but for :mod:`sae_bridge.interop.native`."""

from sae_bridge.interop.imported import ImportedSAE
from sae_bridge.interop.loading import load_any
from sae_bridge.interop.native_files import export_native
from sae_bridge.interop.saebench import SAEBenchConfiguration, SAEBenchSAE, saebench_sae
from sae_bridge.interop.saelens import export_saelens, import_saelens
from sae_bridge.interop.sparsify import export_sparsify, import_sparsify

__all__ = [
    "ImportedSAE",
    "SAEBenchConfiguration",
    "SAEBenchSAE",
    "export_native",
    "export_saelens",
    "export_sparsify",
    "import_saelens",
    "import_sparsify",
    "load_any",
    "saebench_sae",
]
