"""The Python that the README shows runs and says what its comments say."""

import re
from pathlib import Path

BLOCKS = re.findall(r"```python\n(.*?)```", (Path(__file__).parent.parent / "README.md").read_text(), re.S)


def test_the_tour_of_the_core(capsys):
    exec(BLOCKS[0], {})
    bounds, certified, error = capsys.readouterr().out.splitlines()
    assert (bounds, certified) == ("13/16 13/16", "4")
    assert float(error) < 1e-12


def test_a_statement_of_ones_own(capsys):
    exec(BLOCKS[1], {})
    out = capsys.readouterr().out
    assert out.startswith("refuted m = 6, n = 4, d = 3, k = 2")


def test_there_are_two_blocks():
    assert len(BLOCKS) == 2
