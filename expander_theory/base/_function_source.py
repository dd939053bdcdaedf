"""What tells functions of scripts and notebooks apart: their source, and that of all they use there."""

from __future__ import annotations

import dis
import functools
import inspect
import textwrap
import types
from typing import Any

from expander_theory.base.errors import InvalidArgument, require


def plain_function(given: Any) -> types.FunctionType | None:
    """The Python function, also of one that numba has compiled; None of all else."""
    found = getattr(given, "py_func", given)
    return found if isinstance(found, types.FunctionType) else None


def bound_arguments(argument: str, given: functools.partial[Any]) -> str:
    """The arguments of a partial as text.

    Raises:
        InvalidArgument: one that is no number, text, or list or dictionary of them.
    """
    for value in (*given.args, *given.keywords.values()):
        require(_constant(value), argument, repr(value), "must be a number, a text or a list of them in a partial")
    shown = [*map(repr, given.args), *(f"{name}={value!r}" for name, value in sorted(given.keywords.items()))]
    return f"({', '.join(shown)})"


def _constant(value: Any) -> bool:
    if isinstance(value, tuple | list):
        return all(map(_constant, value))
    if isinstance(value, dict):
        return all(isinstance(key, str) and _constant(inner) for key, inner in value.items())
    return value is None or isinstance(value, bool | int | float | str)


def function_sources(argument: str, function: types.FunctionType, seen: dict[str, None]) -> list[str]:
    """The source of a function, and of what it uses of its own script or notebook.

    Args:
        argument: name of the argument, for messages.
        function: written in Python.
        seen: names that are covered already.

    Raises:
        InvalidArgument: it captures variables, or uses global ones that are no numbers or texts, or has no source.
    """
    captured, who = function.__code__.co_freevars, function.__qualname__
    allowed = f"must capture no variables (it captures {', '.join(captured)}): pass them by functools.partial"
    require(not captured, argument, who, allowed)
    try:
        found = [textwrap.dedent(inspect.getsource(function))]
    except (OSError, TypeError):
        raise InvalidArgument(argument, who, "must have its source in a file or notebook") from None
    defaults = [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()]
    require(all(map(_constant, defaults)), argument, who, "must have numbers, texts or None as defaults")
    found.append(repr(defaults))
    for name in sorted(_globals(function.__code__)):
        if name in seen or name not in function.__globals__:
            continue
        seen[name] = None
        found += _used(argument, who, name, function.__globals__[name], function.__globals__, seen)
    return found


def _used(argument: str, who: str, name: str, value: Any, own: dict[str, Any], seen: dict[str, None]) -> list[str]:
    """What tells a global variable's value apart."""
    if isinstance(value, types.ModuleType):
        return [f"{name}: module {value.__name__}"]
    if isinstance(value, functools.partial):
        return [
            f"{name}: partial{bound_arguments(argument, value)}",
            *_used(argument, who, name, value.func, own, seen),
        ]
    plain = plain_function(value)
    if plain is not None:
        if plain.__globals__ is own:
            return function_sources(argument, plain, seen)
        return [f"{name}: {plain.__globals__.get('__name__')}.{plain.__qualname__}"]
    if inspect.isclass(value):
        if value.__module__ != own.get("__name__"):
            return [f"{name}: {value.__module__}.{value.__qualname__}"]
        methods = [method for method in vars(value).values() if isinstance(method, types.FunctionType)]
        return [
            inspect.getsource(value),
            *(text for method in methods for text in function_sources(argument, method, seen)),
        ]
    if isinstance(value, types.BuiltinFunctionType) or type(value).__name__ == "ufunc":
        return [f"{name}: {getattr(value, '__module__', None) or 'builtins'}.{value.__name__}"]
    allowed = f"must use no variables but numbers and texts (it uses {name}, a {type(value).__name__})"
    require(_constant(value), argument, who, allowed)
    return [f"{name} = {value!r}"]


def _globals(code: types.CodeType) -> set[str]:
    """Names that are looked up among the global variables."""
    names = {str(i.argval) for i in dis.get_instructions(code) if i.opname in ("LOAD_GLOBAL", "LOAD_NAME")}
    inner = (constant for constant in code.co_consts if isinstance(constant, types.CodeType))
    return names.union(*map(_globals, inner))
