"""The ``expander`` command: finds the subcommand, parses its options, reports errors without a traceback.

Subcommands are frozen dataclasses with a ``run`` method, registered as entry points of the group
``expander.commands``; a name with a space ("sae train") is a subcommand of a subcommand. Field
documentation is the help text.
"""

from __future__ import annotations

import difflib
import inspect
import os
import sys
from collections.abc import Sequence
from importlib.metadata import EntryPoint, entry_points, version
from typing import Any, Protocol

from expander_theory.base import ExpanderTheoryError

GROUP = "expander.commands"


class Command(Protocol):
    """One subcommand, its options parsed."""

    def run(self) -> None: ...


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; exits with 0, 2 (a mistake that the user can mend) or 130 (Ctrl-C)."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        _dispatch(words)
    except ExpanderTheoryError as error:
        _fail(str(error))
    except ModuleNotFoundError as error:
        _fail(f"this command needs the package {error.name}: {_remedy(str(error.name))}")
    except MemoryError as error:
        _fail(f"not enough memory: {error or 'choose smaller sizes'}")
    except BrokenPipeError:  # the reader of our output has gone, as in `expander ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(1) from None
    except OSError as error:
        _fail(f"{error.filename}: {error.strerror}" if error.filename else str(error))
    except KeyboardInterrupt:
        print("\nexpander: stopped; what is finished is kept, the same command goes on from there", file=sys.stderr)
        raise SystemExit(130) from None


def _dispatch(words: list[str]) -> None:
    commands = {entry.name: entry for entry in entry_points(group=GROUP)}
    if words == ["--version"]:
        print(f"expander-theory {version('expander-theory')}")
        return
    name, rest = _split(words, commands)
    if name not in commands:
        prefix = name
        if not rest or rest[0] in ("-h", "--help"):
            print(_overview(prefix, commands))
            raise SystemExit(0 if rest else 2)
        listed = [n for n in commands if n.startswith(prefix)]
        close = difflib.get_close_matches(f"{prefix} {rest[0]}".strip(), listed, 1)
        hint = f"; did you mean `expander {close[0]}`?" if close else ""
        _fail(f"no command {' '.join([*prefix.split(), rest[0]])!r}{hint} (`expander --help` lists them)")
    import tyro

    style = (tyro.conf.FlagCreatePairsOff, tyro.conf.PositionalMetavarFromFieldName)
    command: Any = tyro.cli(_load(commands[name]), prog=f"expander {name}", args=rest, config=style)
    command.run()


def _split(words: list[str], commands: dict[str, EntryPoint]) -> tuple[str, list[str]]:
    """The longest leading words that are a command, or a group of commands ("" for the root)."""
    for length in range(min(2, len(words)), 0, -1):
        name = " ".join(words[:length])
        if name in commands or any(other.startswith(f"{name} ") for other in commands):
            return name, words[length:]
    return "", words


def _load(entry: EntryPoint) -> type[Command]:
    return entry.load()


def _overview(prefix: str, commands: dict[str, EntryPoint]) -> str:
    lines = [f"usage: expander {prefix + ' ' if prefix else ''}COMMAND [OPTIONS]", ""]
    for name, entry in sorted(commands.items(), key=lambda item: _ORDER.index(item[0]) if item[0] in _ORDER else 99):
        if name.startswith(prefix):
            try:
                about = (inspect.getdoc(_load(entry)) or "").splitlines()[0]
            except ModuleNotFoundError as error:
                about = f"(needs {error.name}: {_remedy(str(error.name))})"
            lines.append(f"  {name:<18} {about}")
    lines += ["", "`expander COMMAND --help` explains the options; `expander --version` prints the version."]
    return "\n".join(lines)


_ORDER = (
    "reproduce",
    "build",
    "measure",
    "recover",
    "sweep",
    "ledger status",
    "ledger merge",
    "ledger export",
    "certify",
    "check-certificate",
    "theorems",
    "theorems show",
    "theorems check",
    "theorems attack",
    "certified",
    "synthetic-study",
    "phase-boundary",
    "compare-solvers",
    "coverage",
    "fetch",
    "sae harvest",
    "sae train",
    "sae eval",
    "figures",
    "doctor",
)


def _remedy(package: str) -> str:
    if package.split(".")[0] in ("experiments", "paper_figures"):
        return "run it from a checkout of the project, installed with `pip install -e '.[sae]'`"
    return "run `pip install 'expander-theory[sae]'`"


def _fail(message: str) -> None:
    print(f"expander: error: {message}", file=sys.stderr)
    raise SystemExit(2)


if __name__ == "__main__":
    main()
