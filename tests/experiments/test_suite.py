"""The experiments on SAEs at a tiny scale, on a small random model: from text to every figure, once and resumed."""

import csv
import json
from collections import Counter
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import save_tiny_model
from support.suite_setting import tiny_setting

from expander_theory import load_mask
from expander_theory.cli import main
from expander_theory.dictionaries.geometry import babel
from expander_theory.masks import overlap_limited_mask
from expander_theory.results import (
    AmortisationRecord,
    BaselinesRecord,
    EvaluationRecord,
    MembershipRecord,
    NullRecord,
    PairRecord,
    RateRecord,
    RecoveryRecord,
    read_ledger,
    read_records,
    records_of,
    to_json,
)
from experiments.commands import compared_saes as sae_groups
from experiments.commands.compared_saes import EQUAL_INFERENCE
from paper_figures.figures.saes import suite
from paper_figures.figures.saes.small_dense import advantage
from sae_bridge.sae.loading import load_sae
from sae_bridge.suites import _measuring as module, controls, has_euler_mask, settings, small_dense, sparsities
from sae_bridge.training.recipe import Training

EXPERIMENTS = ("frontier", "certified-mask", "controls", "sparsity", "small-dense", "better-training", "pursuit-recipe")
ANALYSES = ("amortisation", "recovery", "novelty")
FIGURES = {
    "frontier": ("equal_inference", "storage_frontier", "trained_geometry", "cross_model"),
    "certified-mask": ("certified_mask",),
    "controls": ("controls",),
    "sparsity": ("sparsity", "learning_curves"),
    "small-dense": ("small_dense",),
    "better-training": ("better_training",),
    "pursuit-recipe": ("pursuit_recipe",),
    "amortisation": ("amortisation", "inference_algorithms"),
    "recovery": ("recovery_curves", "erc_calibration", "cumulative_coherence"),
    "novelty": ("feature_novelty",),
}


@pytest.fixture(scope="module")
def results(tmp_path_factory, text_folder):
    """Every experiment of the tiny setting, run from the command line, and the patch that makes "quick" tiny."""
    folder = tmp_path_factory.mktemp("suite")
    setting = tiny_setting(text_folder, save_tiny_model(folder / "model"))
    patch = pytest.MonkeyPatch()
    patch.setattr("sae_bridge.suites.presets.QUICK", setting)
    out = folder / "results"
    for name in (*EXPERIMENTS, *ANALYSES):
        main(["experiment", name, "--out", str(out)])
    main(["experiment", "frontier", "--out", str(out / "layers" / "0"), "--layer", "0", "--seeds", "0"])
    yield out
    patch.undo()


def rows_of(results, name):
    with (results / "figures" / f"{name}.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("experiment", FIGURES)
def test_every_experiment_draws_its_figures_with_their_data(results, experiment):
    for name in FIGURES[experiment]:
        assert (results / "figures" / f"{name}.png").stat().st_size > 10_000
        assert rows_of(results, name)


def test_a_second_run_changes_no_byte(results, monkeypatch):
    files = [path for path in results.rglob("*") if path.is_file() and path.suffix in (".jsonl", ".csv", ".png")]
    before = {path: path.read_bytes() for path in files}
    monkeypatch.setattr("sae_bridge.training.training_run.TrainingRun.advance", lambda *_: pytest.fail("trained again"))
    monkeypatch.setattr(module, "measure_losses", lambda *_, **__: pytest.fail("evaluated again"))
    for name in (*EXPERIMENTS, *ANALYSES):
        main(["experiment", name, "--out", str(results)])
    assert {path: path.read_bytes() for path in files} == before


def test_every_experiment_has_its_nulls(results):
    ledger = results / "saes" / "ledger.jsonl"
    measured = read_records(ledger, NullRecord)
    nulls = {record.k: record for record in measured if record.code is None}
    saes = {record.name: record for record in read_records(ledger, EvaluationRecord)}
    setting = settings()["quick"]
    assert {*setting.ks, setting.recipe.k} <= set(nulls)
    for null in nulls.values():
        assert (null.architecture, null.decoder_values, null.d, null.n) == ("null", 0, 1, null.m)
        assert null.l0 == pytest.approx(null.k, abs=0.01)
    assert sorted(nulls, key=lambda k: nulls[k].fvu) == sorted(nulls, reverse=True)
    others = [record for record in measured if record.code is not None]
    assert {record.k for record in others} == {setting.recipe.k}
    assert Counter(record.code for record in others) == Counter(
        {"coordinates_nonnegative": 1, "principal": 1, "leading": 1, "mean": 1}
        | {"untrained": len(setting.sparse_degrees) + 1}
    )
    fvu = {record.code: record.fvu for record in others}
    assert fvu["principal"] < fvu["leading"] < fvu["mean"] == pytest.approx(1, abs=0.1)
    pairs = {record.pair: record for record in read_records(ledger, PairRecord) if record.to.startswith("null-k")}
    assert set(saes) == set(pairs)
    for name, pair in pairs.items():
        own, null = saes[name].ce_by_context, nulls[saes[name].k].ce_by_context
        assert np.sign(pair.ce_difference) == np.sign(np.sum(own) - np.sum(null))


def of_another_machine(results, folder, change):
    """The suite's ledger alone, as if it came from a machine whose activations differ, without its nulls."""
    from expander_theory.results.ledger_format import header_line, record_line

    identity, records = read_ledger(results / "saes" / "ledger.jsonl")
    identity["activations_sha256"] = "e" * 64
    kept = [
        record
        for record in records
        if not isinstance(record, NullRecord)
        and not (isinstance(record, PairRecord) and record.to.startswith("null-k"))
    ]
    for record in records_of(kept, BaselinesRecord):
        record.baselines["store_sha256"] = "e" * 64
        change(record.baselines)
    path = folder / "saes" / "ledger.jsonl"
    path.parent.mkdir(parents=True)
    path.write_bytes(header_line(identity) + b"".join(record_line(to_json(record)) for record in kept))
    return path, path.read_bytes()


def test_nulls_are_added_to_results_of_another_machine_without_training(results, tmp_path, monkeypatch):
    path, before = of_another_machine(results, tmp_path, lambda losses: None)
    monkeypatch.setattr("sae_bridge.training.training_run.TrainingRun.advance", lambda *_: pytest.fail("trained again"))
    main(["experiment", "frontier", "--out", str(tmp_path)])
    assert path.read_bytes().startswith(before)
    here, there = (read_records(p / "saes" / "ledger.jsonl", NullRecord) for p in (tmp_path, results))
    mine, theirs = ({record.name: record.fvu for record in records} for records in (here, there))
    assert mine
    assert mine.items() <= theirs.items()


def test_nulls_of_another_text_are_refused(results, tmp_path):
    def louder(losses):
        losses["ce"]["clean"] = [value + 1 for value in losses["ce"]["clean"]]

    path, before = of_another_machine(results, tmp_path, louder)
    with pytest.raises(SystemExit, match="2"):
        main(["experiment", "frontier", "--out", str(tmp_path)])
    assert path.read_bytes() == before


def test_results_of_another_machine_go_on_where_its_clean_losses_agree(results, tmp_path):
    path, before = of_another_machine(results, tmp_path, lambda losses: None)
    main(["experiment", "small-dense", "--out", str(tmp_path), "--seeds", "0", "7"])
    assert path.read_bytes().startswith(before)
    identity, records = read_ledger(path)
    assert identity["activations_sha256"] == "e" * 64
    own = read_ledger(results / "saes" / "ledger.jsonl")[0]["activations_sha256"]
    new = [record for record in records_of(records, EvaluationRecord) if record.seed == 7]
    assert {record.activations_sha256 for record in new} == {own}
    pairs = {(record.pair, record.to) for record in records_of(records, PairRecord)}
    assert ("d4-seed7", "dense-seed7") in pairs


def test_results_of_another_text_are_not_added_to(results, tmp_path):
    def louder(losses):
        losses["ce"]["clean"] = [value + 1 for value in losses["ce"]["clean"]]

    path, before = of_another_machine(results, tmp_path, louder)
    with pytest.raises(SystemExit, match="2"):
        main(["experiment", "frontier", "--out", str(tmp_path), "--seeds", "0", "1", "7"])
    assert path.read_bytes() == before


def test_the_frontier_compares_at_equal_inference(results):
    found = suite.group(results / "saes" / "ledger.jsonl", EQUAL_INFERENCE)
    rows = {row.variant: row for row in found.rows}
    by_topk = {"d4", "d8", "d4-learned", "r2-d3-learned", "dense-n8", "dense-n16", "dense"}
    by_omp = {f"{name}-omp" for name in by_topk - {"d8"}}
    long = {"d4-learned-omp-long", "r2-d3-learned-omp-long"}
    assert rows.keys() == by_topk | by_omp | long
    assert {name for name, row in rows.items() if row.encoder == "omp"} == by_omp | long
    assert {name for name, row in rows.items() if row.steps == 120} == long
    assert {name for name, row in rows.items() if row.dense_columns} == {name for name in rows if name[0] == "r"}
    for row in rows.values():
        assert row.encode_microseconds > 0
        assert row.family == (
            "dense" if "dense" in row.variant else "learned" if "learned" in row.variant else "uniform"
        )
        values = {"d4": 256, "r2": 2 * 32 + 62 * 3, "d8": 512}.get(row.variant[:2], 32 * row.n)
        assert 0.95 * values <= row.decoder_values <= values, "what was taken last may still be zero"
        if row.encoder == "omp":
            assert row.fvu == pytest.approx(row.omp_fvu, rel=1e-3), "the encoder is OMP"


def test_each_sparse_sae_is_paired_with_the_dense_ones_that_it_has_to_beat(results):
    ledger = results / "saes" / "ledger.jsonl"
    found = suite.group(ledger, EQUAL_INFERENCE)
    rows = {row.name: row for row in found.rows}
    pairs = {(record.pair, record.to) for record in read_records(ledger, PairRecord)}
    for name, row in rows.items():
        if row.architecture == "dense":
            continue
        rivals = [r for r in rows.values() if r.family == "dense" and r.encoder == row.encoder]
        larger = [rival.name for rival in rivals if rival.bytes_packed >= row.bytes_packed]
        assert larger
        assert {(name, rival) for rival in larger} <= pairs


def test_what_omp_codes_is_paired_with_the_best_untrained_mask(results):
    ledger = results / "saes" / "ledger.jsonl"
    untrained = [null for null in read_records(ledger, NullRecord) if null.code == "untrained" and null.d < null.m]
    best = max(untrained, key=lambda null: null.recovered_zero)
    members = suite.group(ledger, EQUAL_INFERENCE).rows
    paired = {record.pair for record in read_records(ledger, PairRecord) if record.to == best.name}
    assert {row.name for row in members if row.encoder == "omp"} <= paired
    assert not {row.name for row in members if row.encoder == "tied"} & paired


def test_an_sae_of_two_experiments_is_trained_and_evaluated_once(results):
    ledger = results / "saes" / "ledger.jsonl"
    names = [record.name for record in read_records(ledger, EvaluationRecord)]
    assert len(names) == len(set(names))
    groups = {record.group for record in read_records(ledger, MembershipRecord) if record.member == "d4-seed0"}
    assert groups == {*EXPERIMENTS, EQUAL_INFERENCE} - {"pursuit-recipe"}


def test_recipes_of_pursuits_change_one_choice(results):
    """The rates are multiples of that of the plain SAE of their degree; all are coded by OMP."""
    found = suite.group(results / "saes" / "ledger.jsonl", "pursuit-recipe")
    rows = {row.label: row for row in found.rows}
    plain = rows["the recipe"]
    factors = {"half the rate": 0.5, "twice the rate": 2, "4 times the rate": 4}
    for label, row in rows.items():
        assert row.encoder == "omp"
        assert row.learning_rate == pytest.approx(factors.get(label, 1) * plain.learning_rate)
        assert (row.d, row.n, row.k, row.steps) == (plain.d, plain.n, plain.k, plain.steps)
    assert len({row.ce_by_context for row in rows.values()}) >= len(rows) - 3, "at this size clipping and AuxK may idle"
    assert rows["supports stay"].family == "uniform"
    assert {row.family for label, row in rows.items() if label != "supports stay"} == {"learned"}


def test_all_architectures_of_the_frontier_have_their_own_rate_and_all_seeds(results):
    found = suite.group(results / "saes" / "ledger.jsonl", "frontier")
    assert [row.name for row in found.rows] == [f"{a}-seed{s}" for a in ("dense", "d8", "d4") for s in (0, 1)]
    for row in found.rows:
        sweep = read_records(results / "rates" / row.variant / "rates.jsonl", RateRecord)
        tried = {record.learning_rate: record.fvu for record in sweep}
        assert row.learning_rate == min(tried, key=tried.get)
        assert row.curve[-1][0] == 11


def test_controls_have_the_same_number_of_decoder_values(results):
    found = suite.group(results / "saes" / "ledger.jsonl", "controls")
    values = {row.variant: row.decoder_values for row in found.rows}
    assert values.pop("dense") == values.pop("dense-warm") == values.pop("dense-random") == 32 * 64
    assert values.pop("irregular-d4") == pytest.approx(256, rel=0.15)
    rank = values.pop("rank3")
    assert rank == 3 * 96
    assert set(values.values()) == {256}
    assert len(values) == 9


def test_control_masks_are_what_they_are_called(results):
    masks = {path.stem.rsplit("-d", 1)[0]: load_mask(path) for path in (results / "control-masks").iterdir()}
    assert set(masks) == {"euler", "overlap-limited", "repeated", "contiguous", "clustered"}
    overlap = {name: (np.diff(np.sort(mask.rows @ np.eye(4, dtype=int)))).size for name, mask in masks.items()}
    assert set(overlap.values()) == {64 * 3}
    incidence = np.zeros((64, 32))
    np.put_along_axis(incidence, masks["euler"].rows.astype(int), 1, axis=1)
    shared = incidence @ incidence.T
    assert shared[~np.eye(64, dtype=bool)].max() == 1
    assert len({tuple(row) for row in masks["repeated"].rows.tolist()}) == 4
    assert len({tuple(row) for row in masks["clustered"].rows.tolist()}) <= 8


def test_pruned_saes_come_from_the_dense_one(results):
    dense = load_sae(results / "sae" / "dense-seed0")[0].weight.detach().numpy()
    pruned = load_sae(results / "sae" / "pruned-d4-seed0")[0]
    retuned = load_sae(results / "sae" / "retuned-d4-seed0")[0]
    assert np.array_equal(np.sort(np.argsort(-np.abs(dense), axis=1)[:, :4], axis=1), pruned.mask.rows)
    assert pruned.mask.sha256 == retuned.mask.sha256
    assert not np.allclose(pruned.weight.detach(), retuned.weight.detach())


def test_ratios_to_dense_are_those_of_the_losses(results):
    ledger = results / "saes" / "ledger.jsonl"
    baselines = read_records(ledger, BaselinesRecord)[0].baselines
    zero = np.array(baselines["ce"]["zero"])
    known = {record.name: np.array(record.ce_by_context) for record in read_records(ledger, EvaluationRecord)}
    own, dense = known["d4-seed1"], known["dense-seed1"]
    pairs = {(record.pair, record.to): record for record in read_records(ledger, PairRecord)}
    pair = pairs["d4-seed1", "dense-seed1"]
    assert {to for name, to in pairs if name == "clustered-d4-seed0"} == {"dense-seed0", "d4-seed0", "null-k4"}
    assert pair.ratio == pytest.approx((zero - own).sum() / (zero - dense).sum(), rel=1e-5)
    if pair.ratio_interval is not None:  # None where the model hardly needs the layer
        low, high = pair.ratio_interval
        assert low <= pair.ratio <= high
    assert pair.ce_difference == pytest.approx((own - dense).sum() / sum(baselines["predictions"]), rel=1e-4)


def test_the_headline_table_has_the_paper_s_value_with_its_source(results):
    text = (results / "figures" / "tables" / "headline_ratio.md").read_text()
    assert "Qwen2.5-3B, layer 12" in text
    assert "| 293x" in text
    assert "0.8423" in text
    assert "--preset qwen2.5-3b-layer12" in text


def test_other_layers_stand_beside_ours_and_the_published_ones(results):
    main(["figures", "cross_model", "--results", str(results)])
    rows = rows_of(results, "cross_model")
    ours = {(row["layer"], row["d"]) for row in rows if row["source"] == "these results"}
    assert ours <= {("1", "8"), ("1", "4"), ("0", "8"), ("0", "4")}  # without those of undefined ratio
    entry = json.loads((results / "figures" / "manifest.json").read_text())["figures"]["cross_model"]
    assert set(entry["inputs"]) == {"saes/ledger.jsonl", "layers/0/saes/ledger.jsonl"}
    assert sum(row["source"] == "published" for row in rows) == 23


def test_amortisation_compares_every_method_on_the_same_decoder(results):
    records = read_records(results / "amortisation" / "ledger.jsonl", AmortisationRecord)
    setting = tiny_setting("", "")
    all_methods = {
        v.name for v in sparsities(setting.recipe, setting.sparsity_degrees, (*setting.ks, setting.recipe.k))
    }
    assert 0 < sum(record.variant in all_methods for record in records) < len(records)
    for record in records:
        rows = {row.method: row for row in record.rows}
        slow = {"gomp", "niht", "cosamp"} if record.variant in all_methods else set()
        assert set(rows) == {"encoder", "least_squares", "mp", "omp", "omp_nonnegative"} | slow
        assert rows["omp"].fvu < rows["encoder"].fvu
        assert rows["least_squares"].overlap == pytest.approx(rows["encoder"].overlap)
        assert (rows["omp_nonnegative"].ce is not None) == ("-k" not in record.variant)
        assert all(rows[name].ce is None for name in slow)


def test_an_sae_of_omp_in_the_loop_is_measured_with_omp(results):
    records = read_records(results / "saes" / "ledger.jsonl", EvaluationRecord)
    record = next(record for record in records if record.name == "d4-omp-seed0")
    assert record.fvu == pytest.approx(record.omp_fvu, rel=1e-4)


def test_no_support_with_erc_below_one_is_missed(results):
    records = read_records(results / "recovery" / "ledger.jsonl", RecoveryRecord)
    assert [record.name for record in records] == ["dense-seed0", "d8-seed0", "d4-seed0"]
    assert all(record.contradictions == 0 for record in records)


def test_novelty_has_a_retrained_dense_sae_for_scale(results):
    rows = rows_of(results, "feature_novelty")
    assert [row["name"] for row in rows if row["label"] == "dense, another seed"] == ["dense-seed1"]
    assert {row["k"] for row in rows} == {"2", "4", "8"}


def test_another_setting_in_the_same_folder_is_refused(results, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["experiment", "frontier", "--preset", "slow", "--out", str(results)])
    assert "preset = 'slow': must be one of quick, full, pythia-70m-layer3" in capsys.readouterr().err


def test_the_estimate_of_several_seeds_is_never_narrower_than_the_bootstrap():
    rows = [{"x": x, "x_interval": [x - 0.1, x + 0.1]} for x in (1.0, 1.02, 0.98)]
    mean, low, high = suite.estimate(rows, "x")
    assert mean == pytest.approx(1)
    assert (low, high) == pytest.approx((0.9, 1.1))
    spread = [{"x": x, "x_interval": [x - 0.01, x + 0.01]} for x in (0.0, 1.0)]
    mean, low, high = suite.estimate(spread, "x")
    assert high - mean == pytest.approx(12.706 * np.sqrt(0.5) / np.sqrt(2), rel=1e-3)
    assert np.isnan(suite.estimate([{"x": None}], "x")[0])


def test_the_advantage_is_interpolated_in_log_storage():
    def seeds(kind, storage, value):
        about = {"variant": f"{kind}{storage}", "architecture": kind}
        return SimpleNamespace(**about, s=storage, recovered_zero=value, recovered_zero_interval=None)

    rows = [
        seeds("dense", 10, 0.5),
        seeds("dense", 1000, 0.9),
        seeds("expander", 100, 0.8),
        seeds("expander", 5000, 1.0),
    ]
    found = advantage(suite.Group({}, rows, ""), "s")
    assert [row["inside"] for row in found] == [True, False]
    assert found[0]["dense"] == pytest.approx(0.7)
    assert found[0]["gain"] == pytest.approx(0.1)


def test_variants_at_the_sizes_of_the_real_presets():
    base = Training(n=4608, k=32)
    assert has_euler_mask(576, 4608, 8)
    assert has_euler_mask(576, 4608, 4)
    assert not has_euler_mask(576, 4608, 16)
    names = [variant.name for variant in controls(base, 576, 8)]
    assert names[:2] == ["d8", "euler-d8"]
    assert "dense-n64" in names
    assert small_dense(base, 576, 2).training.k == 16
    for setting in settings().values():
        assert setting.d in setting.sparse_degrees


def test_members_depend_on_seeds_that_are_asked_for(results):
    frontier = sae_groups.Frontier("quick", results, seeds=(5,))
    found = frontier.members(frontier.suite)
    assert {seed for _, seed in found} == {5}
    assert replace(base := Training(), k=4) != base
    assert overlap_limited_mask(32, 64, 4, max_overlap=1, seed=0).n == 64


def test_cumulative_coherence_is_that_of_the_trained_decoders(results):
    rows = [row for row in rows_of(results, "cumulative_coherence") if row["values"] == "trained"]
    for name in {row["decoder"] for row in rows}:
        line = {int(row["k"]): float(row["mu_1(k)"]) for row in rows if row["decoder"] == name}
        sums = babel(load_sae(results / "sae" / name)[0].dictionary(), max(line))
        assert line == pytest.approx({k: sums[k - 1] for k in line}, rel=1e-5)
        assert len(line) >= 5
