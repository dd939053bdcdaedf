"""What every wing stands on: errors, seeds, progress, compiled loops, limits of the machine.

Internal: only the errors are part of the public API, which exports them itself.
"""

from expander_theory.base.errors import (
    ExpanderTheoryError,
    InvalidArgument,
    InvalidFile,
    MissingResource,
    require,
    require_choice,
    require_int,
    require_real,
)
from expander_theory.base.immutable import Immutable, unchecked
from expander_theory.base.interrupts import Stop, stopping
from expander_theory.base.jit import ADVICE, cache_folder, njit
from expander_theory.base.machine import default_workers
from expander_theory.base.optional import optional_module
from expander_theory.base.plugin import Plugin, PluginFailed, names_plugin
from expander_theory.base.progress import SweepBar, progress_bar
from expander_theory.base.seeds import Seed, derived_seed, generator, require_seed, stream

__all__ = [
    "ADVICE",
    "ExpanderTheoryError",
    "Immutable",
    "InvalidArgument",
    "InvalidFile",
    "MissingResource",
    "Plugin",
    "PluginFailed",
    "Seed",
    "Stop",
    "SweepBar",
    "cache_folder",
    "default_workers",
    "derived_seed",
    "generator",
    "names_plugin",
    "njit",
    "optional_module",
    "progress_bar",
    "require",
    "require_choice",
    "require_int",
    "require_real",
    "require_seed",
    "stopping",
    "stream",
    "unchecked",
]
