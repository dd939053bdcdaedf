"""Functions that users bring: which are told apart, which are refused, and how they reach a worker."""

import functools
import importlib
import pickle
import subprocess
import sys
import threading
from dataclasses import replace

import numpy as np
import pytest
from support.cases.trial_cases import TASK

from expander_theory.base.errors import ExpanderTheoryError, InvalidArgument, InvalidFile
from expander_theory.base.plugin import Plugin, PluginFailed, names_plugin

SOLVER = """\
import numpy as np

FIRST = {first}


def solve(W, signals, k):
    codes = np.zeros((len(signals), W.shape[1]))
    codes[:, FIRST] = 1
    return codes


def other(W, signals, k):
    return solve(W, signals, k)
"""


@pytest.fixture
def solver(tmp_path):
    """Writes a file with a solver, and returns its place."""

    def write(name="mine.py", first=0):
        (tmp_path / name).write_text(SOLVER.format(first=first))
        return f"{tmp_path / name}:solve"

    return write


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Writes a module that can be imported, and returns a function that writes it anew."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def write(text, name="brought_module"):
        (tmp_path / f"{name}.py").write_text(text)
        importlib.invalidate_caches()
        return name

    yield write
    sys.modules.pop("brought_module", None)


def task_id(given):
    return replace(TASK, solver=given).id


def plugin_or_refusal(given):
    """The plugin, or the text with which it is refused: either keeps two functions apart."""
    try:
        return Plugin.of("solver", given)
    except ExpanderTheoryError as refused:
        return str(refused)


def test_the_place_of_a_file_is_no_part_of_its_identity(solver, tmp_path):
    first, renamed = Plugin.of("solver", solver()), Plugin.of("solver", solver("renamed.py"))
    assert first == renamed
    assert hash(first) == hash(renamed)
    assert first.content == renamed.content == {"name": "solve", "sha256": first.sha256}
    assert str(tmp_path) not in repr(first)
    assert task_id(solver()) == task_id(solver("renamed.py"))
    (tmp_path / "dos.py").write_bytes(SOLVER.format(first=0).replace("\n", "\r\n").encode())
    assert Plugin.of("solver", f"{tmp_path / 'dos.py'}:solve") == first


def test_one_character_makes_another_task(solver):
    before = task_id(solver(first=0))
    assert task_id(solver(first=1)) != before
    assert task_id(solver(first=0)) == before


def test_another_function_of_the_file_is_another_plugin(solver):
    place = solver()
    assert task_id(place) != task_id(place.replace(":solve", ":other"))


def test_a_module_is_told_apart_as_its_file_is(solver, module, tmp_path):
    name = module(SOLVER.format(first=0))
    assert Plugin.of("solver", f"{name}:solve") == Plugin.of("solver", solver())


def test_a_function_that_was_imported_is_the_same_by_its_place(module):
    name = module(SOLVER.format(first=0))
    passed = Plugin.of("solver", importlib.import_module(name).solve)
    assert passed == Plugin.of("solver", f"{name}:solve")


def test_arguments_of_a_partial_are_part_of_it(module):
    solve = importlib.import_module(module("def solve(step, W, signals, k, *, on=True):\n    return step, on\n")).solve
    given = [functools.partial(solve, 0.1), functools.partial(solve, 0.2), functools.partial(solve, 0.1, on=False)]
    plugins = [Plugin.of("solver", one) for one in given]
    assert len(set(plugins)) == 3
    assert [plugin.name for plugin in plugins] == ["solve(0.1)", "solve(0.2)", "solve(0.1, on=False)"]
    assert [plugin(1, 2, 3) for plugin in plugins] == [(0.1, True), (0.2, True), (0.1, False)]
    assert Plugin.of("solver", functools.partial(solve, 0.1)) == plugins[0]
    with pytest.raises(InvalidArgument, match=r"must be a number, a text or a list of them in a partial"):
        Plugin.of("solver", functools.partial(solve, np.ones(3)))


STEP, TABLE = 0.5, np.ones(3)


def shrunk(W, signals, k):
    return STEP


def tabled(W, signals, k):
    return TABLE


def of_the_script(function, monkeypatch):
    """As a function of a script or notebook is, which no module's file holds."""
    monkeypatch.setattr(function, "__qualname__", f"script.{function.__name__}")
    return function


def test_numbers_that_a_script_s_function_uses_are_part_of_it(monkeypatch):
    function = of_the_script(shrunk, monkeypatch)
    before = Plugin.of("solver", function)
    monkeypatch.setitem(globals(), "STEP", 0.25)
    after = Plugin.of("solver", function)
    assert (before.name, before == after) == ("shrunk", False)


def test_arrays_that_a_script_s_function_uses_are_refused_by_name(monkeypatch):
    with pytest.raises(InvalidArgument, match=r"it uses TABLE, a ndarray"):
        Plugin.of("solver", of_the_script(tabled, monkeypatch))


def test_captured_variables_are_refused_by_name():
    step = 0.1

    def solve(W, signals, k):
        return step

    with pytest.raises(InvalidArgument, match=r"must capture no variables \(it captures step\)"):
        Plugin.of("solver", solve)


@pytest.mark.parametrize(
    "given",
    [len, np.dot, type("Callable", (), {"__call__": lambda self: 0})(), [].append, None, 5],
    ids=["builtin", "ufunc", "object", "method", "none", "number"],
)
def test_what_has_no_python_source_is_refused(given):
    with pytest.raises(InvalidArgument, match="must be a function"):
        Plugin.of("solver", given)


def test_lambdas_of_one_line_are_no_two_names_for_one_thing():
    one, two = (lambda W, s, k: 1), (lambda W, s, k: 2)
    plugins = [plugin_or_refusal(one), plugin_or_refusal(two)]
    assert plugins[0] != plugins[1] or isinstance(plugins[0], str)
    assert all(isinstance(plugin, str) or plugin(0, 0, 0) in (1, 2) for plugin in plugins)


DEFAULTS = """\
STEP = {0}


class script:
    def solve(W, signals, k, step=STEP):
        return step
"""
CLASS = """\
STEP = {0}


class Model:
    def run(self):
        return STEP


class script:
    def solve(W, signals, k):
        return Model().run()
"""
PARTIAL = """\
import functools


def scaled(step, W):
    return step


helper = functools.partial(scaled, {0})


class script:
    def solve(W, signals, k):
        return helper(W)
"""
OBJECT = """\
class Network:
    def __init__(self, weight):
        self.weight = weight

    def __call__(self, W):
        return self.weight


network = Network({0})


class script:
    def solve(W, signals, k):
        return network(W)
"""
DECORATED = """\
import functools


def times(function):
    @functools.wraps(function)
    def inner(W, signals, k):
        return {0} * function(W, signals, k)

    return inner


class script:
    @times
    def solve(W, signals, k):
        return 1
"""


@pytest.mark.parametrize("text", [DEFAULTS, CLASS, PARTIAL, OBJECT, DECORATED], ids="dcpow")
def test_what_changes_a_script_s_function_makes_it_another_or_is_refused(text, module, monkeypatch):
    """A function of a class stands for one of a notebook: no name of its module's file leads to it by itself."""
    found = []
    for number in (1, 2):
        sys.modules.pop("brought_module", None)
        imported = importlib.import_module(module(text.format(number) + "\n" * number))
        function = imported.script.solve
        monkeypatch.setattr(function, "__qualname__", "elsewhere.solve")
        found.append(plugin_or_refusal(function))
        assert isinstance(found[-1], str) or found[-1](None, None, 3) == number
    assert found[0] != found[1] or isinstance(found[0], str)


def test_a_wrapped_import_is_not_what_it_wraps():
    @functools.wraps(names_plugin)
    def solve(W, signals, k):
        return 0

    assert plugin_or_refusal(solve) != Plugin.of("solver", names_plugin)


def test_attributes_are_no_variables(monkeypatch):
    def solve(W, signals, k):
        return W.TABLE

    assert Plugin.of("solver", solve).name == "solve"


def test_compiled_functions_are_their_source(tmp_path):
    text = "from numba import njit\n\n\n@njit(cache={0})\ndef solve(W, signals, k):\n    return W + {1}\n"
    plugins = []
    for cached, number in (("True", 1), ("True", 2), ("False", 2)):
        (tmp_path / "compiled.py").write_text(text.format(cached, number))
        plugins.append(Plugin.of("solver", f"{tmp_path / 'compiled.py'}:solve"))
        assert plugins[-1](1, 0, 0) == 1 + number
    assert len(set(plugins)) == 3
    module = sys.modules[f"_expander_plugin_{plugins[0].sha256[:32]}"]
    assert Plugin.of("solver", module.solve).name == "solve"  # passed as a compiled function


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("x = 1\ndef solve(:\n    pass\n", r"mine\.py: cannot be run: SyntaxError.*line 2"),
        ("x = 1\n\nraise ValueError('no')\n", r"mine\.py: cannot be run: ValueError: no \(line 3\)"),
        ("import no_such_package\n", r"mine\.py: cannot be run: ModuleNotFoundError.*line 1"),
        ("import sys\nsys.exit()\n", r"mine\.py: cannot be run: SystemExit.*line 2"),
    ],
)
def test_a_file_that_does_not_run_is_refused_with_its_line(tmp_path, text, says):
    (tmp_path / "mine.py").write_text(text)
    before = set(sys.modules)
    with pytest.raises(InvalidFile, match=says):
        Plugin.of("solver", f"{tmp_path / 'mine.py'}:solve")
    assert not {name for name in set(sys.modules) - before if name.startswith("_expander_plugin")}


@pytest.mark.parametrize(
    ("text", "place", "says"),
    [
        ("x = 3\n", "mine.py:solve", "must name a function that is there"),
        ("solve = 3\n", "mine.py:solve", "must name a function, and is a int"),
        ("", "absent.py:solve", "absent.py: cannot be read: No such file"),
        ("", "mine.py:", "must be package.module:function or path/to/file.py:function"),
        ("", "mine.py:a b", "must be package.module:function"),
        ("", "absent_module:solve", "must name an importable module"),
        ("", ".relative:solve", "must"),
        ("", "a..b:solve", "must name an importable module"),
        ("", "sys:exit", "must be in a module with Python source"),
    ],
)
def test_a_place_without_a_function_is_named(tmp_path, monkeypatch, text, place, says):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(text)
    with pytest.raises(ExpanderTheoryError, match=says):
        Plugin.of("solver", place)


@pytest.mark.parametrize("text", ["def solve(:\n", "raise ValueError('no')\n", "import sys\nsys.exit()\n"])
def test_a_module_that_does_not_run_is_refused(module, text):
    name = module(text)
    with pytest.raises(ExpanderTheoryError, match=name):
        Plugin.of("solver", f"{name}:solve")


def test_a_byte_order_mark_is_no_part_of_a_file(tmp_path):
    (tmp_path / "mine.py").write_bytes(b"\xef\xbb\xbfdef solve(W, signals, k):\n    return 1\n")
    assert Plugin.of("solver", f"{tmp_path / 'mine.py'}:solve")(0, 0, 0) == 1


def test_a_file_has_no_future_statements_but_its_own(tmp_path):
    (tmp_path / "mine.py").write_text("def solve(W: int):\n    return solve.__annotations__['W']\n")
    assert Plugin.of("solver", f"{tmp_path / 'mine.py'}:solve")(0) is int


def test_a_file_travels_with_its_text(solver, tmp_path):
    plugin = Plugin.of("solver", solver(first=2))
    sent = pickle.dumps(plugin)
    (tmp_path / "mine.py").unlink()
    code = (
        "import pickle, sys, numpy as np\n"
        "plugin = pickle.loads(sys.stdin.buffer.read())\n"
        "print(plugin(np.zeros((2, 4)), np.zeros((1, 2)), 1).tolist())\n"
    )
    there = subprocess.run([sys.executable, "-c", code], input=sent, capture_output=True, cwd="/", check=True)
    assert there.stdout == b"[[0.0, 0.0, 1.0, 0.0]]\n"


def test_threads_of_a_worker_wait_for_a_file_that_is_being_run(tmp_path):
    path = tmp_path / "slow.py"
    path.write_text("import time\n\ntime.sleep(0.2)\n\n\ndef solve(W, signals, k):\n    return 1\n")
    plugin = Plugin.of("solver", f"{path}:solve")
    del sys.modules[f"_expander_plugin_{plugin.sha256[:32]}"]  # as in a worker, which has not run it
    found = []

    def call():
        try:
            found.append(plugin(0, 0, 0))
        except Exception as error:
            found.append(error)

    threads = [threading.Thread(target=call) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [1, 1, 1]


def test_a_module_that_another_machine_has_in_another_version_is_refused(module):
    name = module(SOLVER.format(first=0))
    given_out = pickle.loads(pickle.dumps(Plugin.of("solver", f"{name}:solve")))
    module(SOLVER.format(first=1))
    sys.modules.pop(name)  # as on a machine that has never imported it
    with pytest.raises(PluginFailed, match=f"{name}:solve has the source .* install the same version on both"):
        given_out(np.zeros((2, 4)), np.zeros((1, 2)), 1)


@pytest.mark.parametrize("by", ["place", "function"])
def test_a_module_that_changed_since_its_import_is_never_named_by_what_it_does_not_do(module, by):
    """As in a notebook: the functions here are the old ones, until it is started again."""
    name = module(SOLVER.format(first=0))
    given = f"{name}:solve" if by == "place" else importlib.import_module(name).solve
    before = Plugin.of("solver", given)
    module(SOLVER.format(first=3))
    after = plugin_or_refusal(given)
    if isinstance(after, str):
        assert "chang" in after
        return
    (code,) = after(np.zeros((2, 4)), np.zeros((1, 2)), 1)
    assert (after == before) == (np.flatnonzero(code) == [0]).all()


def test_a_plugin_of_a_record_can_be_named_but_not_called(solver):
    plugin = Plugin.of("solver", solver(first=3))
    named = Plugin.of("solver", {"name": "solve", "sha256": "0" * 64})
    assert named.label == "solve 00000000"
    with pytest.raises(InvalidArgument, match="only name and hash are known"):
        named(0, 0, 0)
    assert Plugin.of("solver", plugin.content) == plugin


@pytest.mark.parametrize(
    "record",
    [
        {"name": "solve"},
        {"name": "solve", "sha256": "0" * 64, "module": "os"},
        {"name": "solve", "sha256": "0" * 64, "source": "x = 1"},
        {"name": "solve", "sha256": "0" * 63},
        {"name": "solve", "sha256": "Z" * 64},
        {"name": "solve", "sha256": ["0"] * 64},
        {"name": "", "sha256": "0" * 64},
        {"name": 5, "sha256": "0" * 64},
        {"name": "x" * 201, "sha256": "0" * 64},
    ],
)
def test_no_record_says_more_of_a_plugin_than_name_and_hash(record):
    with pytest.raises(InvalidArgument):
        Plugin.of("solver", record)
