"""The list of commands: grouped, whole sentences, nothing imported, and only what is installed."""

import re
import subprocess
import sys
import tomllib
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

import pytest

from expander_theory.commands import listing as module
from expander_theory.commands.listing import GROUPS, WIDTH, first_sentence, group_of, overview, refusal

ROOT = Path(__file__).parents[2]
DECLARED = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]["expander.commands"]
COMMANDS = {name: EntryPoint(name, value, "expander.commands") for name, value in DECLARED.items()}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_a_group_and_a_sentence(name):
    assert group_of(name) in GROUPS
    sentence = first_sentence(COMMANDS[name])
    assert sentence[-1:] in tuple(".?")
    assert sentence[0].isupper()


def test_no_line_is_longer_than_a_screen_is_wide():
    text = overview(COMMANDS)
    assert all(len(line) <= WIDTH for line in text.splitlines()), max(text.splitlines(), key=len)
    assert all(text.count(f"\n  {name}  ") == 1 for name in COMMANDS)
    assert all(f"\n{group}:\n" in text for group in GROUPS)


def expander(*words, before=""):
    """The command line in a process of its own, its modules and processor time on the last line."""
    code = (
        f"import sys, time\nfrom expander_theory.cli import main\n{before}\n"
        f"try:\n    main({list(words)})\nexcept SystemExit as stop:\n    print(stop.code or 0)\n"
        "print(time.process_time(), *sys.modules)"
    )
    out = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=ROOT).stdout
    *lines, status, last = out.splitlines()
    seconds, *modules = last.split()
    return "\n".join(lines), int(status), float(seconds), set(modules)


@pytest.mark.parametrize("words", [["--help"], ["sae", "--help"], ["theorems", "--help"], ["ledger", "-h"]])
def test_it_is_quick_and_imports_no_command(words):
    text, status, seconds, modules = expander(*words)
    assert status == 0
    assert not {"numpy", "numba", "torch", "tyro", "sae_bridge", "experiments", "paper_figures"} & modules
    assert not {entry.module for entry in COMMANDS.values()} & modules
    assert seconds < 0.5
    installed = [entry.name for entry in entry_points(group="expander.commands")]
    inside = [name for name in installed if words[0].startswith("-") or name.split()[0] == words[0]]
    assert all(re.search(rf"\n  {name}(  |\n)", text) for name in inside)
    assert text.count("\n  ") == len(inside)


def test_a_command_that_has_subcommands_has_no_options_to_explain():
    from dataclasses import fields

    for name, entry in COMMANDS.items():
        if any(other.startswith(f"{name} ") for other in COMMANDS):
            assert not fields(entry.load()), name


def without(monkeypatch, *packages):
    find = module.find_spec
    monkeypatch.setattr(module, "find_spec", lambda name: None if name in packages else find(name))


def test_commands_of_packages_that_are_not_there_are_not_listed(monkeypatch):
    without(monkeypatch, "experiments", "paper_figures")
    text = overview(COMMANDS)
    there = {name for name, value in DECLARED.items() if value.split(".")[0] in ("expander_theory", "sae_bridge")}
    assert {name for name in COMMANDS if f"\n  {name}  " in text} == there
    (line,) = (line for line in text.splitlines() if line.startswith("The paper"))
    assert "needs a checkout" in line
    assert not line.endswith(":")


def test_without_torch_there_are_no_sae_commands(monkeypatch):
    without(monkeypatch, "torch")
    text = overview(COMMANDS, "sae")
    assert "  sae train  " not in text
    assert "needs torch: run `pip install 'expander-theory[sae]'`" in text


def test_a_command_of_the_paper_says_that_it_needs_a_checkout(tmp_path):
    """An installation without the two packages of the checkout: an import system that does not find them."""
    code = (
        "import sys\nfrom expander_theory.cli import main\n"
        "sys.modules['experiments'] = sys.modules['paper_figures'] = None\nmain(['reproduce', '--help'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "needs a checkout" in line
    assert "pip install -e" in line


def test_a_package_without_the_module_is_of_another_version():
    assert "install the project again" in refusal("sae_bridge.commands.gone")
    assert "pip install 'expander-theory[sae]'" in refusal("torch")
    assert "needs a checkout" in refusal("experiments")


def test_a_command_of_somebody_else_is_listed_apart(tmp_path, monkeypatch):
    (tmp_path / "plugin").mkdir()
    (tmp_path / "plugin" / "__init__.py").write_text("raise RuntimeError('imported')")
    (tmp_path / "plugin" / "deep.py").write_text('class Own:\n    """Do it,\n    e.g. twice. Then rest."""\n')
    monkeypatch.syspath_prepend(tmp_path)
    own = {
        name: EntryPoint(name, f"plugin.{value}", "expander.commands")
        for name, value in (("own", "deep:Own"), ("none", "deep:Other"), ("absent", "nowhere:Own"))
    }
    text = overview(COMMANDS | own)
    assert "\nOthers:\n  absent\n  none\n  own     Do it, e.g. twice.\n" in text
