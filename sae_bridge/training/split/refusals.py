"""Which recipes processes can train with their features split, and which not."""

from __future__ import annotations

from expander_theory.base import require, require_choice
from sae_bridge.training.recipe import Training

_ENCODERS = ("tied", "warm", "random")
_ACTIVATIONS = ("topk", "batch_topk")


def require_splittable(how: Training) -> None:
    """Raise InvalidArgument, which names the field, unless the features of such a recipe can be split over processes.

    TopK and BatchTopK with one step of a tied or free encoder can, dense or on a fixed mask, with AuxK or without
    revival. A pursuit would exchange residuals k times a batch; thresholds, prefixes, learned supports, dense columns
    beside a mask, resampling, ranks and finetunes have no exchange here.
    """
    own = type(how) is Training
    require(own, "recipe", type(how).__name__, "must be that of an SAE where features are split")
    for name, choices in (("encoder", _ENCODERS), ("activation", _ACTIVATIONS)):
        require_choice(f"{name} with features split", getattr(how, name), choices)
    only = {
        "pursuit_steps": 1,
        "dense_columns": 0,
        "supports": "fixed",
        "rank": None,
        "mean_degree": None,
        "start": None,
        "finetuned": None,
        "groups": None,
        "precision": "float32",
    }
    for name, value in only.items():
        found = getattr(how, name)
        require(found == value, name, repr(found), f"must be {value!r} where features are split over processes")
    revives = how.revival != "resample"
    require(revives, "revival", repr(how.revival), "must be 'auxk' or 'none' where features are split over processes")
