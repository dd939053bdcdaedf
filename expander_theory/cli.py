"""The ``expander`` command: finds the subcommand, parses its options, reports errors without a traceback.

Subcommands are frozen dataclasses with a ``run`` method, registered as entry points of the group
``expander.commands``; a name with a space ("sae train") is a subcommand of a subcommand. Field
documentation is the help text.
"""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import EntryPoint, entry_points, version
from typing import Any, Protocol

from expander_theory.commands import overview, refusal

GROUP = "expander.commands"


class Command(Protocol):
    """One subcommand, its options parsed."""

    def run(self) -> None: ...


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; exits with 0, 2 (a mistake that the user can mend) or 130 (Ctrl-C)."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        _dispatch(words)
    except ModuleNotFoundError as error:
        _fail(refusal(str(error.name)))
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
    helping = bool(rest) and rest[0] in ("-h", "--help")
    if name not in commands or (helping and _subcommands(name, commands)):
        if not rest or helping:
            print(overview(commands, name))
            raise SystemExit(0 if rest else 2)
        listed = [n for n in commands if n.startswith(name)]
        close = difflib.get_close_matches(f"{name} {rest[0]}".strip(), listed, 1)
        hint = f"; did you mean `expander {close[0]}`?" if close else ""
        _fail(f"no command {' '.join([*name.split(), rest[0]])!r}{hint} (`expander --help` lists them)")
    _run(name, commands[name], rest)


def _run(name: str, entry: EntryPoint, words: list[str]) -> None:
    # Imported here: the wing of the errors compiles loops, and a list of commands needs neither.
    import tyro

    from expander_theory.base import ExpanderTheoryError

    style = (tyro.conf.FlagCreatePairsOff, tyro.conf.PositionalMetavarFromFieldName)
    try:
        command: Any = tyro.cli(_load(entry), prog=f"expander {name}", args=words, config=style)
        command.run()
    except ExpanderTheoryError as error:
        _fail(str(error))


def _subcommands(name: str, commands: Mapping[str, EntryPoint]) -> list[str]:
    return [other for other in commands if other.startswith(f"{name} ")]


def _split(words: list[str], commands: Mapping[str, EntryPoint]) -> tuple[str, list[str]]:
    """The longest leading words that are a command, or a group of commands ("" for the root)."""
    for length in range(min(2, len(words)), 0, -1):
        name = " ".join(words[:length])
        if name in commands or _subcommands(name, commands):
            return name, words[length:]
    return "", words


def _load(entry: EntryPoint) -> type[Command]:
    return entry.load()


def _fail(message: str) -> None:
    print(f"expander: error: {message}", file=sys.stderr)
    raise SystemExit(2)


if __name__ == "__main__":
    main()
