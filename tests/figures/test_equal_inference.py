"""The figure, table and verdict at equal inference, on made-up suites whose answers are known."""

from dataclasses import replace

import pytest
from support.suite_records import record, write_suite

from expander_theory.plotting import figure_sources
from paper_figures.claims import CLAIMS
from paper_figures.figures.saes.equal_inference import (
    against_dense,
    below_each_dense,
    crossings,
    kind,
    null_rows,
    table_rows,
    untrained_null,
)
from paper_figures.figures.saes.suite import group

(CLAIM,) = (claim for claim in CLAIMS if claim.name == "equal inference")


def suite(folder, *, sparse=0.9, large=0.8, null=0.5, untrained=None, more=(), large_dense_seeds=(0, 1)):
    """Two sparse kinds below a dense SAE of 64 features, one above it and below that of 900, by OMP and by TopK.

    Args:
        sparse, large: CE recovered by the sparse ones below and above the small dense one, which recovers .85.
        more: (label, record) of others.
        large_dense_seeds: seeds of the large dense one.
    """
    members = []
    for seed in (0, 1):
        for encoder in ("omp", "tied"):
            end = "-omp" if encoder == "omp" else ""
            made = {
                f"d8{end}": (sparse - 0.02, {"d": 8}),
                f"d8-learned{end}": (sparse, {"d": 8, "family": "learned"}),
                f"r16-d64{end}": (large, {"d": 64, "family": "learned", "dense_columns": 16}),
                f"dense-n64{end}": (0.85, {"n": 64}),
                f"dense-n900{end}": (0.95, {"n": 900}),
            }
            if seed not in large_dense_seeds:
                del made[f"dense-n900{end}"]
            members += [
                (name, record(name, seed, value, encoder=encoder, delta=1 - value, **changes))
                for name, (value, changes) in made.items()
            ]
        if seed == 0:
            long = record("d8-learned-omp-long", 0, 0.99, d=8, family="learned", encoder="omp", steps=500)
            members.append(("long", long))
    members += more
    return write_suite(folder / "saes" / "ledger.jsonl", {"equal-inference": members}, null=null, untrained=untrained)


def test_sparse_saes_are_set_against_the_smallest_dense_one_of_no_less_storage(tmp_path):
    found = group(suite(tmp_path), "equal-inference")
    rows = {row["variant"]: row for row in against_dense(found, "omp")}
    assert rows.keys() == {"d8-omp", "d8-learned-omp", "r16-d64-omp"}, "neither dense ones nor longer training"
    assert {name: row["rival"] for name, row in rows.items()} == {
        "d8-omp": "dense-n64-omp", "d8-learned-omp": "dense-n64-omp", "r16-d64-omp": "dense-n900-omp"
    }  # fmt: skip
    assert rows["d8-learned-omp"]["low"] == pytest.approx(0.04)
    assert rows["d8-learned-omp"]["high"] == pytest.approx(0.06)
    assert rows["r16-d64-omp"]["high"] < 0


@pytest.mark.parametrize(
    ("sparse", "large", "null", "expected"),
    [
        (0.9, 0.97, 0.5, "supported"),
        (0.9, 0.8, 0.5, "partly"),
        (0.7, 0.8, 0.5, "not supported"),
        (0.9, 0.97, 0.98, "no better than the null"),
        (0.9, 0.97, None, "not supported"),
    ],
)
def test_the_verdict_asks_below_every_dense_sae(tmp_path, sparse, large, null, expected):
    suite(tmp_path, sparse=sparse, large=large, null=null)
    found = CLAIM.finding(tmp_path)
    assert found.verdict == expected
    assert len([line for line in found.numbers if "against dense" in line]) == 2


@pytest.mark.parametrize(("untrained", "expected"), [(0.85, "supported"), (0.98, "no better than the null")])
def test_what_an_untrained_mask_does_by_omp_counts_as_a_null(tmp_path, untrained, expected):
    suite(tmp_path, sparse=0.9, large=0.97, untrained=untrained)
    assert CLAIM.finding(tmp_path).verdict == expected


def test_a_dense_sae_that_is_no_sparse_ones_nearest_rival_has_to_be_beaten_too(tmp_path):
    """Between 64 and 900 features, above every sparse one: it recovers more than any of them."""
    suite(tmp_path / "two", sparse=0.9, large=0.97)
    assert CLAIM.finding(tmp_path / "two").verdict == "supported"
    more = [("dense, n = 950", record("dense-n950-omp", seed, 0.99, n=950, encoder="omp")) for seed in (0, 1)]
    path = suite(tmp_path / "three", sparse=0.9, large=0.97, more=more)
    found = CLAIM.finding(tmp_path / "three")
    assert found.verdict == "partly"
    assert any("against dense, n = 950" in line for line in found.numbers)
    every = group(path, "equal-inference")
    assert [row["rival"][0].n for row in below_each_dense(every, "omp")] == [64, 900, 950]


def test_a_dense_sae_of_all_features_has_no_fewer_and_is_not_asked_for(tmp_path):
    suite(tmp_path, sparse=0.9, large=0.97, more=[("dense", record("dense-omp", 0, 0.999, encoder="omp"))])
    assert CLAIM.finding(tmp_path).verdict == "supported"


def test_the_seeds_that_were_paired_are_counted(tmp_path):
    """The large dense one has one seed, the sparse ones two."""
    path = suite(tmp_path, sparse=0.9, large=0.97, large_dense_seeds=(0,))
    lines = [line for line in CLAIM.finding(tmp_path).numbers if "against dense" in line]
    assert ["2 seeds" in line for line in lines] == [True, False]
    assert "(paired, 1 seed)" in lines[1]
    rows = {row["SAE"]: row for row in table_rows(group(path, "equal-inference")) if row["inference"] == "OMP"}
    assert rows["r16-d64-omp"]["CE below the dense rival's"].endswith("(dense-n900-omp, 1 of 2 seeds)")
    assert rows["d8-omp"]["CE below the dense rival's"].endswith("(dense-n64-omp)")


def test_an_untrained_mask_at_another_k_is_no_null_here(tmp_path):
    path = suite(tmp_path, sparse=0.9, large=0.97, untrained=0.85)
    found = group(path, "equal-inference")
    (here,) = found.others
    other = replace(here, name="null-untrained-d2-n1024-k16", k=16, recovered_zero=0.99, label="twice the k")
    both = replace(found, others=[here, other])
    assert untrained_null(both) == here
    assert [row["SAE"] for row in null_rows(both)] == [row["SAE"] for row in null_rows(found)]


def test_the_crossing_is_said_in_words(tmp_path):
    ahead = crossings(group(suite(tmp_path / "a", sparse=0.9, large=0.97), "equal-inference"))
    mixed = crossings(group(suite(tmp_path / "b", sparse=0.9, large=0.8), "equal-inference"))
    behind = crossings(group(suite(tmp_path / "c", sparse=0.7, large=0.8), "equal-inference"))
    assert "By OMP sparse ones are ahead of dense ones of equal storage up to" in ahead
    assert "and no longer at" in mixed
    assert "By OMP dense SAEs of equal storage are ahead throughout." in behind


def test_the_figure_has_a_panel_for_each_inference_and_the_table_a_row_for_each_sae_and_null(tmp_path):
    path = suite(tmp_path)
    _, drawing = figure_sources()["equal_inference"].found(tmp_path)
    figure = drawing.figures["equal_inference"]
    assert [axis.get_title() for axis in figure.axes[:2]] == ["TopK encoder", "OMP"]
    hollow = [sum(box[0].get_markerfacecolor() == "white" for box in axis.containers) for axis in figure.axes]
    assert hollow == [0, 1, 0, 1], "ten times the steps, by OMP alone"
    table = drawing.tables["equal_inference"]
    assert [row["inference"] for row in table.rows] == ["TopK encoder"] * 5 + ["OMP"] * 6 + ["nothing learned"]
    by_name = {(row["SAE"], row["inference"]): row for row in table.rows}
    assert by_name["d8-learned-omp", "OMP"]["multiply-adds a token"] == 8 * 8 * 1024
    assert by_name["d8-learned", "TopK encoder"]["multiply-adds a token"] == 8 * 1024
    kinds = {row["kind"] for row in drawing.data["equal_inference"]}
    assert kinds == {"uniform", "learned", "blocks", "dense"}
    assert kind(group(path, "equal-inference").rows[2]) == "blocks"


def test_other_suites_have_no_such_figure(tmp_path):
    write_suite(tmp_path / "saes" / "ledger.jsonl", {"frontier": [("dense", record("dense", 0, 1))]})
    assert figure_sources()["equal_inference"].found(tmp_path) is None
    assert CLAIM.finding(tmp_path).verdict == "not run"
