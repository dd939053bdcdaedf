"""The structure of the code: small folders, wings that export by name, nothing private used from outside."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LIBRARIES = ("expander_theory", "sae_bridge")
PACKAGES = (*LIBRARIES, "experiments", "paper_figures")
INTERNAL = ("_kernels", "kernels")
"""Wings of loops on prepared arrays: those who prepare the arrays import them by module."""

BY_NAME = ("sae_bridge.interop.native",)
"""What other libraries' users import by its own name: it needs SAELens."""


def sources(*packages):
    return [path for package in packages for path in sorted((ROOT / package).rglob("*.py"))]


def module_of(path):
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def wing_of(module):
    return ".".join(module.split(".")[:2]) if module.split(".")[0] in LIBRARIES else module.split(".")[0]


def imports(path):
    """(module, name) of what a file imports from these packages."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] in PACKAGES:
            yield from ((node.module, alias.name) for alias in node.names)


def test_no_folder_holds_more_than_14_modules():
    folders = {path.parent for path in sources(*PACKAGES, "tests")}
    counts = {str(f.relative_to(ROOT)): len([p for p in f.glob("*.py") if p.name != "__init__.py"]) for f in folders}
    assert {folder: count for folder, count in counts.items() if count > 14} == {}


def test_no_file_of_tests_is_longer_than_500_lines():
    lengths = {path.name: len(path.read_text().splitlines()) for path in sources("tests")}
    assert {name: length for name, length in lengths.items() if length > 500} == {}


@pytest.mark.parametrize("package", PACKAGES)
def test_other_wings_are_used_by_what_they_export(package):
    """Neither a private name, nor a module inside the wing, is imported from outside."""
    wrong = []
    for path in sources(package):
        own = wing_of(module_of(path))
        for module, name in imports(path):
            wing = wing_of(module)
            if wing == own or wing in PACKAGES:
                continue
            internal = wing.split(".")[1] in INTERNAL and own.split(".")[0] == wing.split(".")[0]
            kernels = (own, wing) == ("sae_bridge.kernels", "expander_theory._kernels")
            if name.startswith("_") or (module != wing and not internal and not kernels):
                wrong.append(f"{module_of(path)}: from {module} import {name}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_wing_exports_what_it_lists(library):
    for path in sorted((ROOT / library).glob("*/__init__.py")):
        if path.parent.name in (*INTERNAL, "commands"):
            continue
        tree = ast.parse(path.read_text())
        listed = next(
            ast.literal_eval(node.value)
            for node in tree.body
            if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__all__"
        )
        assert ast.get_docstring(tree), path
        assert listed
        assert len(set(listed)) == len(listed)
        public = {name for module, name in imports(path)}
        assigned = {t.id for node in tree.body if isinstance(node, ast.Assign) for t in node.targets}
        assert set(listed) <= public | assigned, path


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_module_without_a_public_name_says_so(library):
    """A module of a wing that exports nothing has a leading underscore."""
    exported = {module for path in (ROOT / library).glob("*/__init__.py") for module, _ in imports(path)}
    exported |= {module for path in (ROOT / library).glob("*/*/__init__.py") for module, _ in imports(path)}
    exported |= {
        f"{module}.{name}" for path in (ROOT / library).glob("*/__init__.py") for module, name in imports(path)
    }
    exported |= set(BY_NAME)
    unmarked = []
    for path in sources(library):
        parts = module_of(path).split(".")
        if len(parts) < 3 or path.name == "__init__.py" or parts[1] in (*INTERNAL, "commands"):
            continue
        if module_of(path) not in exported and not any(part.startswith("_") for part in parts):
            unmarked.append(module_of(path))
    assert unmarked == []
