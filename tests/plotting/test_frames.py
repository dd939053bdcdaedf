"""Results as data frames."""

import json

import numpy as np
import pytest

from expander_theory import InvalidArgument, InvalidFile, omp, sign_dictionary, to_dataframe, uniform_mask
from expander_theory.dictionaries import Ensemble
from expander_theory.results import Ledger
from expander_theory.simulation import FixedTrials, Ladder, Task, cell_rows, run_sweep


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    folder = tmp_path_factory.mktemp("frames")
    with Ledger(folder / "ledger.jsonl", {"kind": "sweep"}) as ledger:
        found = run_sweep([Ladder(Task(Ensemble("uniform", 16, 40, 4), 1), (1, 4))], FixedTrials(25), ledger)
    return folder, found


def test_cells_and_their_ledger_give_the_same_rows(sweep):
    folder, found = sweep
    frame = to_dataframe(found)
    assert list(frame.columns) == list(cell_rows(found)[0])
    assert list(frame["rate"]) == [cell.rate for cell in found]
    stored = to_dataframe(folder)
    assert list(stored["task"]) == [cell.task.id for cell in found]
    assert stored["successes"].tolist() == frame["successes"].tolist()
    for name in frame.columns.intersection(to_dataframe.__doc__.replace("``", " ").split()):
        assert name in frame
    missing = [name for name in frame.columns if f"``{name}``" not in to_dataframe.__doc__]
    assert not missing, "columns without a meaning in the docstring"


def test_a_recovery_has_a_row_for_each_atom():
    dictionary = sign_dictionary(uniform_mask(16, 40, 4, seed=0), seed=1)
    codes = np.zeros((3, 40))
    codes[0, [3, 7]], codes[2, 5] = (2.0, -1.0), 1.5
    found = omp(dictionary, codes @ dictionary.to_dense().T, 2)
    frame = to_dataframe(found)
    assert frame.equals(found.to_dataframe())
    assert 1 not in set(frame["signal"])
    dense = np.zeros((3, 40))
    dense[frame["signal"], frame["atom"]] = frame["coefficient"]
    assert np.array_equal(dense, found.to_dense())
    assert list(frame["step"][frame["signal"] == 0]) == list(range(found.steps[0]))


def test_evaluations_have_their_intervals_as_two_columns(tmp_path):
    row = {"name": "a", "fvu": 0.1, "decoder_values": 64, "geometry": {"coherence": 0.8}, "recovered_zero": 0.9}
    rows = [{**row, "recovered_zero_interval": (0.89, 0.91)}, {**row, "name": "b", "recovered_zero_interval": None}]
    (tmp_path / "eval.json").write_text(json.dumps(rows))
    for frame in (to_dataframe(rows), to_dataframe(tmp_path / "eval.json")):
        assert frame["recovered_zero"].tolist() == [0.9, 0.9]
        assert frame["recovered_zero_low"][0] == pytest.approx(0.89)
        assert np.isnan(frame["recovered_zero_low"][1])
        assert frame["geometry.coherence"].tolist() == [0.8, 0.8]


def test_what_is_no_result_is_refused(tmp_path):
    for wrong in (3, [], "absent", {"x": 1}):
        with pytest.raises((InvalidArgument, InvalidFile)):
            to_dataframe(wrong)
    (tmp_path / "other.json").write_text("[1]")
    with pytest.raises(InvalidFile, match="holds no results"):
        to_dataframe(tmp_path / "other.json")
