"""The figure and the verdict against the nulls, on made-up places whose answers are known."""

import pytest
from support.suite_records import record, write_suite

from expander_theory.plotting import figure_sources
from paper_figures.claims import CLAIMS
from paper_figures.figures.saes.against_nulls import beats, places

(CLAIM,) = (claim for claim in CLAIMS if claim.name == "against the null")


def place(folder, name, *, null=0.5, low=0.8, high=0.9, **changes):
    """A place with SAEs of d = 8 and 32, one by OMP, and a dense one, at k = 8."""
    members = [
        ("d = 8", record("d8", 0, low, d=8, **changes)),
        ("d = 32", record("d32", 0, high, d=32)),
        ("d = 8, OMP in the loop", record("d8-omp", 0, 0.97, d=8, encoder="omp")),
        ("dense", record("dense", 0, 0.99)),
    ]
    return write_suite(folder / "nulls" / name / "saes" / "ledger.jsonl", {"nulls": members}, null=null)


@pytest.mark.parametrize(
    ("null", "expected"),
    [(0.5, "supported"), (0.85, "partly"), (0.95, "no better than the null"), (None, "not supported")],
)
def test_the_verdict_counts_plain_saes_alone(tmp_path, null, expected):
    """OMP and dense beat every null here, and do not count."""
    place(tmp_path, "a", null=null)
    found = CLAIM.finding(tmp_path)
    assert found.verdict == expected
    won = {0.5: 2, 0.85: 1}.get(null, 0)
    assert found.numbers[0] == f"plain SAEs that beat the null: {won} of 2"
    assert ("d = 32 beats it at k = 8" in found.numbers[1]) == (won > 0)
    assert ("d = 8, OMP in the loop beats it at k = 8" in found.numbers[1]) == (null is not None)


def test_one_place_of_two_is_a_part(tmp_path):
    place(tmp_path, "a", null=0.5)
    place(tmp_path, "b", null=0.95)
    found = CLAIM.finding(tmp_path)
    assert (found.verdict, found.numbers[0]) == ("partly", "plain SAEs that beat the null: 2 of 4")
    assert len(found.numbers) == 4  # one for each place, and what the paper's geometry suggests


def test_less_ce_with_more_fvu_does_not_beat_the_null(tmp_path):
    (found,) = places([place(tmp_path, "a", fvu=0.6)])
    assert {row.variant: beats([row], found) for row in found.rows} == {
        "d8": False, "d32": True, "d8-omp": True, "dense": True
    }  # fmt: skip


def test_points_are_filled_where_the_null_is_beaten(tmp_path):
    place(tmp_path, "a", null=0.85)
    place(tmp_path, "b", null=0.5)
    paths, drawing = figure_sources()["against_nulls"].found(tmp_path)
    assert [path.parts[-3] for path in paths] == ["a", "b"]
    figure = drawing.figures["against_nulls"]
    top = figure.axes[:2]
    assert [axis.get_title() for axis in top] == ["SmolLM2-135M, layer 3"] * 2
    hollow = [sum(container[0].get_markerfacecolor() == "white" for container in axis.containers) for axis in top]
    assert hollow == [1, 0]
    dashed = [line for axis in top for line in axis.lines if line.get_linestyle() == "--"]
    assert [list(line.get_ydata()) for line in dashed] == [[0.85], [0.5]]
    rows = drawing.data["against_nulls"]
    assert [row["beats"] for row in rows if row["name"] == "d8-seed0"] == [False, True]
    assert sum(row["architecture"] == "null" for row in rows) == 2


def test_suites_that_were_not_set_against_nulls_are_passed_over(tmp_path):
    path = write_suite(
        tmp_path / "nulls" / "a" / "saes" / "ledger.jsonl", {"frontier": [("dense", record("dense", 0, 1))]}
    )
    assert places([path]) == []
    assert figure_sources()["against_nulls"].found(tmp_path) is None
    assert CLAIM.finding(tmp_path).verdict == "not run"
