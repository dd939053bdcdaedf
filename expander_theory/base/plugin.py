"""Functions that users bring: found by name, told apart by a hash of their source, carried to every worker."""

from __future__ import annotations

import functools
import hashlib
import importlib
import importlib.machinery
import sys
import threading
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from expander_theory.base._function_source import bound_arguments, function_sources, plain_function
from expander_theory.base.errors import ExpanderTheoryError, InvalidArgument, InvalidFile, require

_HEX = set("0123456789abcdef")


class PluginFailed(ExpanderTheoryError):
    """A user's function returned something that its protocol does not allow; the text names the function and what."""


@dataclass(frozen=True)
class Plugin:
    """A function that a user brings: a solver, a law of dictionaries, codes or noise, a criterion of success.

    Two plugins are equal where name and hash are. The hash covers the whole file that holds the function (of one passed
    from a script or notebook: its source, and that of the functions and numbers there that it uses), but not the
    packages that it imports. A file travels with its text, so that workers on other machines need no copy; it is to
    import installed packages only, as what lies beside it is covered by no hash, and not found.

    Attributes:
        name: of the function.
        sha256: hash (hex) of its source.
        module: where it is imported from; empty for a file or a function.
        path: of the file, for tracebacks.
        source: text of the file.
        function: as it was passed.
        origin: of a function that was passed, the one of its module that it is, or is a partial of.
    """

    name: str
    sha256: str
    module: str = field(default="", compare=False, repr=False)
    path: str = field(default="", compare=False, repr=False)
    source: str = field(default="", compare=False, repr=False)
    function: Callable[..., Any] | None = field(default=None, compare=False, repr=False)
    origin: Plugin | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        require(isinstance(self.name, str) and 0 < len(self.name) <= 200, "name", repr(self.name), "must be a name")
        sound = isinstance(self.sha256, str) and len(self.sha256) == 64 and set(self.sha256) <= _HEX
        require(sound, "sha256", repr(self.sha256), "must be 64 hexadecimal digits")

    @classmethod
    def of(cls, argument: str, given: Plugin | Mapping[str, str] | str | Callable[..., Any]) -> Plugin:
        """The plugin that is meant by a function, or by ``package.module:function`` or ``path/to/file.py:function``.

        Args:
            argument: name of the argument, for messages.
            given: also a plugin, or its :attr:`content` as a ledger has it (which cannot be called).

        Raises:
            InvalidArgument: no function, none of that name, or one whose source cannot tell what it does: with
                captured variables, or with arguments or global variables that are no numbers, texts or their lists.
            InvalidFile: a file that cannot be read or imported.
        """
        if isinstance(given, Plugin):
            return given
        if isinstance(given, Mapping):
            require(set(given) == {"name", "sha256"}, argument, dict(given), "must have a name and a sha256 alone")
            return cls(given["name"], given["sha256"])
        if isinstance(given, str):
            place, colon, name = given.rpartition(":")
            allowed = "must be package.module:function or path/to/file.py:function"
            require(bool(colon and place and name.isidentifier()), argument, repr(given), allowed)
            return _of_file(argument, Path(place), name) if place.endswith(".py") else _of_module(argument, place, name)
        return _of_function(argument, given)

    @property
    def content(self) -> dict[str, str]:
        """What names the plugin in records: no place, and no code."""
        return {"name": self.name, "sha256": self.sha256}

    @property
    def label(self) -> str:
        """Name and the beginning of the hash."""
        return f"{self.name} {self.sha256[:8]}"

    def __call__(self, *args: Any) -> Any:
        """Call the function.

        Raises:
            InvalidArgument: only its name and hash are known.
            PluginFailed: the module that a worker imports has another source.
        """
        return self._loaded()(*args)

    def _loaded(self) -> Callable[..., Any]:
        if self.origin is not None:
            self.origin._loaded()  # the module here must have the source that was hashed
        if self.function is not None:
            return self.function
        if self not in _loaded:
            if self.source:
                _loaded[self] = getattr(_executed(self.path, self.source, self.sha256), self.name)
            else:
                required = f"must be given as a function, or by its place: of {self.label} only name and hash are known"
                require(bool(self.module), "plugin", self.label, required)
                found = _of_module("plugin", self.module, self.name)
                if found != self:
                    raise PluginFailed(
                        f"{self.module}:{self.name} has the source {found.sha256[:12]}... here, and "
                        f"{self.sha256[:12]}... where the work was given out: install the same version on both"
                    )
                _loaded[self] = getattr(sys.modules[self.module], self.name)
        return _loaded[self]


_loaded: dict[Plugin, Callable[..., Any]] = {}


def names_plugin(text: str) -> bool:
    """Whether a text is meant as ``package.module:function`` or ``path/to/file.py:function``."""
    return ":" in text


# ---- by place


def _of_file(argument: str, path: Path, name: str) -> Plugin:
    source = _text(path)
    sha256 = _hash(name, source)
    module = _executed(str(path.absolute()), source, sha256)
    _require_function(argument, f"{path}:{name}", getattr(module, name, None))
    return Plugin(name, sha256, path=str(path.absolute()), source=source)


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidFile(path, f"cannot be read: {getattr(error, 'strerror', None) or error}") from None


def _of_module(argument: str, module: str, name: str) -> Plugin:
    allowed = "must name an importable module"
    require(not module.startswith("."), argument, f"{module}:{name}", allowed)
    try:
        found = importlib.import_module(module)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        why = f"{allowed} ({type(error).__name__}: {error})"
        raise InvalidArgument(argument, f"{module}:{name}", why) from error
    _require_function(argument, f"{module}:{name}", getattr(found, name, None))
    path = str(getattr(found, "__file__", None) or "")
    if module in _executed_texts:
        return Plugin(name, _hash(name, _executed_texts[module]), path=path, source=_executed_texts[module])
    allowed = "must be in a module with Python source, which is what tells two versions apart"
    require(path.endswith(".py"), argument, f"{module}:{name}", allowed)
    source = _text(Path(path))
    _require_unchanged(argument, found, path, source)
    return Plugin(name, _hash(name, source), module=module)


def _require_unchanged(argument: str, module: types.ModuleType, path: str, source: str) -> None:
    """The functions in memory are those of the file as it is now; one hash would otherwise name two versions."""
    unchanged = source == vars(module).setdefault("__expander_source__", source)  # as it was when first asked for
    if type(module.__loader__) is importlib.machinery.SourceFileLoader:  # others may rewrite what they load
        try:
            written = _codes(compile(source, path, "exec", dont_inherit=True))
        except SyntaxError:
            written = set()
        functions = (plain_function(value) for value in list(vars(module).values()))
        unchanged &= {f.__code__ for f in functions if f is not None and f.__globals__ is vars(module)} <= written
    require(unchanged, argument, module.__name__, "has changed since it was imported: start again")


def _codes(code: types.CodeType) -> set[types.CodeType]:
    inner = (constant for constant in code.co_consts if isinstance(constant, types.CodeType))
    return {code}.union(*map(_codes, inner))


def _executed(path: str, source: str, sha256: str) -> types.ModuleType:
    """The module of a file's text, run once in a process."""
    key = f"_expander_plugin_{sha256[:32]}"
    with _running:
        if key not in sys.modules:
            module = types.ModuleType(key)
            module.__file__ = path
            sys.modules[key] = module  # before it runs, as dataclasses and pickle look it up there
            try:
                exec(compile(source, path, "exec", dont_inherit=True), module.__dict__)
            except BaseException as error:
                del sys.modules[key]
                if isinstance(error, KeyboardInterrupt):
                    raise
                line = getattr(error, "lineno", None) or _last_line(error, path)
                raise InvalidFile(path, f"cannot be run: {type(error).__name__}: {error} (line {line})") from error
            _executed_texts[key] = source
        return sys.modules[key]


_running = threading.RLock()
_executed_texts: dict[str, str] = {}


def _last_line(error: BaseException, path: str) -> int | str:
    lines, trace = [], error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == path:
            lines.append(trace.tb_lineno)
        trace = trace.tb_next
    return lines[-1] if lines else "?"


def _require_function(argument: str, given: str, found: Any) -> None:
    require(found is not None, argument, given, "must name a function that is there")
    require(callable(found), argument, given, f"must name a function, and is a {type(found).__name__}")


# ---- functions that are passed


def _of_function(argument: str, given: Any) -> Plugin:
    """A function that was passed, or a ``functools.partial`` of one."""
    require(callable(given), argument, repr(given), "must be a function, or the text package.module:function")
    inner, bound = given, ""
    if isinstance(given, functools.partial):
        inner, bound = given.func, bound_arguments(argument, given)
    plain = plain_function(inner)
    require(plain is not None, argument, repr(given), "must be a function written in Python, or a partial of one")
    assert plain is not None
    require(plain.__name__ != "<lambda>", argument, repr(given), "must be a function with a name, not a lambda")
    name, home = plain.__name__ + bound, plain.__globals__.get("__name__", "")
    if home != "__main__" and _at_top(plain, home):
        found = _of_module(argument, home, plain.__name__)
        sha256 = _hash(name, found.sha256) if bound else found.sha256
        return Plugin(name, sha256, function=given, origin=found)
    return Plugin(name, _hash(name, *function_sources(argument, plain, {})), function=given)


def _at_top(function: types.FunctionType, home: str) -> bool:
    """Whether a name of a module's file leads to it: the hash of that file tells its versions apart."""
    module = sys.modules.get(home)
    here = plain_function(getattr(module, function.__qualname__, None))
    return here is function and str(getattr(module, "__file__", "")).endswith(".py")


def _hash(*parts: str) -> str:
    text = "\0".join(part.replace("\r\n", "\n") for part in parts)
    return hashlib.sha256(text.encode()).hexdigest()
