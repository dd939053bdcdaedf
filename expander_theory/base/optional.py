"""Packages that only some uses need."""

from importlib import import_module
from types import ModuleType

from expander_theory.base.errors import MissingResource


def optional_module(name: str, *, extra: str, what: str) -> ModuleType:
    """A package that an extra of this one installs, imported now.

    Args:
        name: of the package.
        extra: that installs it.
        what: needs it, for the message.

    Raises:
        MissingResource: it is not installed; the text says what to run.
    """
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        raise MissingResource(f"{what} needs {name}: run `pip install 'expander-theory[{extra}]'`") from None
