"""The Python that the README shows runs and says what its comments say."""

import re
from pathlib import Path

BLOCKS = re.findall(r"```python\n(.*?)```", (Path(__file__).parents[2] / "README.md").read_text(), re.S)


def test_the_tour_of_the_core(capsys):
    exec(BLOCKS[0], {})
    bounds, certified, error = capsys.readouterr().out.splitlines()
    assert (bounds, certified) == ("13/16 13/16", "4")
    assert float(error) < 1e-12


def test_the_tour_of_the_solvers(capsys):
    names = {}
    exec(BLOCKS[0] + BLOCKS[1], names)
    found = names["found"]
    assert found.to_scipy().shape == (1, 4096)
    assert (names["codes"] != 0).sum() == 64
    assert found.path.residual_norms[0, -1] < 1e-12


def test_a_statement_of_ones_own(capsys):
    exec(BLOCKS[2], {})
    out = capsys.readouterr().out
    assert out.startswith("refuted m = 6, n = 4, d = 3, k = 2")


def test_there_are_three_blocks():
    assert len(BLOCKS) == 3
