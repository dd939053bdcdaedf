"""Expander SAEs on the activations of real language models (needs the ``sae`` extra: torch, transformers).

The public names are listed in ``__init__.pyi``, by the wing that holds them, and loaded on first use, so that
``import sae_bridge`` loads neither torch nor transformers.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
