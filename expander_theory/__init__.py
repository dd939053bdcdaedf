"""Masks, guarantees and recovery for expander dictionaries.

The public names are listed in ``__init__.pyi``, by the wing that holds them, and loaded on first use, so that
``import expander_theory`` is instant and compiles nothing.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

__version__ = "0.1.0"
