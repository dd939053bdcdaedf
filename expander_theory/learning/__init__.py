"""Dictionaries of sparse columns learned from data, as estimators of scikit-learn (the extra "learn").

scikit-learn is imported when the class is first asked for. Where it is missing the name stands for a class that cannot
be made, so that looking at all public names never fails.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from expander_theory.base import optional_module

if TYPE_CHECKING:
    from expander_theory.learning.estimator import ExpanderDictionaryLearning

__all__ = ["ExpanderDictionaryLearning"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        from expander_theory.learning import estimator
    except ModuleNotFoundError as error:
        if error.name != "sklearn":
            raise
        return type(name, (_Missing,), {"__doc__": _Missing.__doc__})
    return getattr(estimator, name)


class _Missing:
    """Needs scikit-learn: run ``pip install 'expander-theory[learn]'``.

    Raises:
        MissingResource: always.
    """

    def __init__(self, *_: Any, **__: Any) -> None:
        optional_module("sklearn", extra="learn", what=type(self).__name__)
