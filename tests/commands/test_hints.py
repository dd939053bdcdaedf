"""Commands that messages, help texts and docstrings name exist, and so do the options that they give."""

import ast
import io
import re
import tomllib
from contextlib import redirect_stdout
from functools import cache
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from expander_theory import cli

ROOT = Path(__file__).parents[2]
PRODUCT = ("expander_theory", "sae_bridge", "experiments", "paper_figures")
DECLARED = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]["expander.commands"]
BLANK = "{}"
"""What stands for the values of an f-string."""
QUOTED = re.compile(r"`expander\s+([^`]+)`|<code>expander\s+([^<]+)</code>")
WHOLE = re.compile(r"expander [a-z{][^.;:$]*")
ANY_COMMAND = {"--help", "--version", "..."}


def texts(tree):
    """The strings of a module, those of f-strings with blanks for their values."""
    inside = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            inside |= {id(part) for part in ast.walk(node)}
            yield "".join(part.value if isinstance(part, ast.Constant) else BLANK for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inside:
            yield node.value


def hints(text):
    """Commands without the word expander: in quotes, or the whole text is one (or several, after commas)."""
    found = [" ".join((quoted or code).split()) for quoted, code in QUOTED.findall(text)]
    if WHOLE.fullmatch(text):
        found += [part.removeprefix("expander ") for part in re.split(r", (?=expander )", text)]
    return found


FILES = [file for folder in PRODUCT for file in sorted((ROOT / folder).rglob("*.py"))]
HINTS = sorted({hint for file in FILES for text in texts(ast.parse(file.read_bytes())) for hint in hints(text)})


@cache
def options(name):
    """The options of a command, from its help."""
    text = io.StringIO()
    declared = [EntryPoint(name, value, cli.GROUP) for name, value in DECLARED.items()]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cli, "entry_points", lambda group: declared)  # of this source, whatever is installed
        with pytest.raises(SystemExit), redirect_stdout(text):
            cli.main([*name.split(), "--help"])
    return {"--help", *re.findall(r"^\W*(--[\w-]+)", text.getvalue(), re.M)}


def faults(hint):
    """What is wrong with a hint."""
    words = [word for word in hint.split() if word != "..."]
    if not words or words[0].startswith(BLANK) or words[0] in ANY_COMMAND or words[0] == "COMMAND":
        return []
    name = next((n for n in (" ".join(words[:2]), words[0]) if n in DECLARED), None)
    if name is None:
        group = len(words) == 1 and any(known.startswith(f"{words[0]} ") for known in DECLARED)
        return [] if group else [f"no command {' '.join(words[:2])}"]
    return [f"{name} has no {word}" for word in words if word.startswith("--") and word not in options(name)]


@pytest.mark.parametrize("hint", HINTS)
def test_a_hint_is_a_valid_command(hint):
    assert faults(hint) == []


def test_hints_are_found_and_faults_are_noticed():
    assert {"build --values ...", "sae train", "experiment cost", "doctor"} <= set(HINTS)
    tree = ast.parse("print(f'run `expander fetch {name}` or `expander\\n sae trian`', 'expander report, expander x')")
    found = [hint for text in texts(tree) for hint in hints(text)]
    assert found == ["fetch {}", "sae trian", "report", "x"]
    assert [len(faults(hint)) for hint in found] == [0, 1, 0, 1]
    assert faults("sae train A B --flying") == ["sae train has no --flying"]
    assert faults("ledger") == faults("build --values ...") == []
