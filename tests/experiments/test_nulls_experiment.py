"""``expander experiment nulls`` at a tiny scale: places, their SAEs beside their nulls, once and resumed."""

import csv
import shutil
from dataclasses import replace

import pytest
from support.suite_setting import tiny_setting

from expander_theory.base.errors import InvalidArgument
from expander_theory.cli import main
from expander_theory.results import EvaluationRecord, NullRecord, PairRecord, read_records
from experiments.commands.nulls import Nulls
from paper_figures.claims import CLAIMS
from sae_bridge.activations import ActivationStore
from sae_bridge.models import load_language_model
from sae_bridge.suites import SAESuite, paper_runs, places, settings

TOPK = {"d4-seed0", "d4-k2-seed0", "d8-seed0", "d8-k2-seed0"}
PURSUED = {"d4-omp-seed0", "d4-omp-k2-seed0"}


@pytest.fixture(scope="module")
def results(tmp_path_factory, tiny_model_folder, text_folder):
    """The experiment of the tiny setting, and the patch that makes "quick" tiny."""
    patch = pytest.MonkeyPatch()
    patch.setattr("sae_bridge.suites.presets.QUICK", tiny_setting(text_folder, tiny_model_folder))
    out = tmp_path_factory.mktemp("nulls") / "results"
    main(["experiment", "nulls", "--out", str(out)])
    yield out
    patch.undo()


@pytest.fixture
def ledger(results):
    return results / "saes" / "ledger.jsonl"


def test_each_sae_stands_beside_the_null_of_its_k(ledger):
    saes = {record.name: record for record in read_records(ledger, EvaluationRecord)}
    assert set(saes) == {*TOPK, *PURSUED, "dense-seed0"}
    assert {name for name, record in saes.items() if record.encoder == "omp"} == PURSUED
    pairs = {record.pair: record.to for record in read_records(ledger, PairRecord) if record.to.startswith("null-k")}
    assert pairs == {name: f"null-k{record.k}" for name, record in saes.items()}
    assert all(1 <= record.collapse.effective_degree <= record.d for record in saes.values())


def test_nulls_are_measured_over_k(ledger):
    nulls = {record.name: record for record in read_records(ledger, NullRecord)}
    over_k = {f"null-{kind}k{k}" for kind in ("", "untrained-d4-n64-") for k in (2, 4)}
    assert set(nulls) == over_k | {"null-untrained-d8-n64-k4", "null-untrained-n64-k4"}
    assert nulls["null-k4"].fvu < nulls["null-k2"].fvu


def test_saes_share_the_rate_of_their_degree(ledger):
    rates = {record.variant: record.learning_rate for record in read_records(ledger, EvaluationRecord)}
    assert rates["d4"] == rates["d4-k2"] == rates["d4-omp"] == rates["d4-omp-k2"]


def test_the_figure_holds_what_was_measured(results, ledger):
    with (results / "figures" / "against_nulls.csv").open() as file:
        rows = {row["name"]: row for row in csv.DictReader(file)}
    pairs = {r.pair: r for r in read_records(ledger, PairRecord) if r.to.startswith("null-k")}
    nulls = {record.k: record for record in read_records(ledger, NullRecord) if record.code is None}
    for record in read_records(ledger, EvaluationRecord):
        row, pair = rows[record.name], pairs[record.name]
        assert float(row["fvu"]) == pytest.approx(record.fvu, rel=1e-4)
        assert float(row["effective_degree"]) == pytest.approx(record.collapse.effective_degree, rel=1e-4)
        below = pair.ce_difference_interval[1] < 0 and record.fvu < nulls[record.k].fvu
        assert row["beats"] == str(below)
    assert {"null-k2", "null-k4", "null-untrained-d4-n64-k4"} <= set(rows)


def test_the_claim_counts_the_plain_ones(results):
    (claim,) = (claim for claim in CLAIMS if claim.name == "against the null")
    found = claim.finding(results)
    assert found.verdict != "not run"
    assert found.numbers[0].endswith("of 4")
    assert "sqrt 7" in found.numbers[-1]


def test_a_second_run_changes_no_byte(results, monkeypatch):
    files = [path for path in results.rglob("*") if path.is_file() and path.suffix in (".jsonl", ".csv", ".png")]
    before = {path: path.read_bytes() for path in files}
    monkeypatch.setattr("sae_bridge.training.training_run.TrainingRun.advance", lambda *_: pytest.fail("trained again"))
    main(["experiment", "nulls", "--out", str(results)])
    assert {path: path.read_bytes() for path in files} == before


def test_places_by_preset():
    known = places()
    assert [setting.name for setting in known["full"]] == [
        *(f"smollm2-135m-layer{layer}" for layer in (4, 14, 24)), "gemma-3-270m-layer8", "stories15m-layer3"
    ]  # fmt: skip
    for setting in known["full"]:
        assert {*setting.ks, setting.recipe.k} == {8, 16, 32, 64, 128}
        assert setting.name.endswith(f"layer{setting.harvest.layer}")
        assert (setting.d, setting.sparse_degrees, setting.seeds) == (8, (32, 8), (0,))
    papers = {f"{run.name}-layer{layer}" for run in paper_runs().values() for layer in run.layers}
    assert set(known) == {"quick", "full"} | papers
    for name in papers:
        (setting,) = known[name]
        assert setting.recipe == settings()[name].recipe
        assert setting.d == min(setting.sparse_degrees) in (7, 10)


def test_options_choose_and_change_places(tmp_path):
    (place,) = Nulls("full", place=("gemma-3-270m-layer8",), model="elsewhere", seeds=(3,)).places
    assert (place.model, place.harvest.layer, place.seeds) == ("elsewhere", 8, (3,))
    (paper,) = Nulls("pythia-70m-layer3", model="elsewhere").places
    assert (paper.model, paper.harvest.layer) == ("elsewhere", 3)
    for wrong, message in (
        ({"preset": "slow"}, "preset = 'slow': must be one of quick, full, pythia-70m-layer3"),
        ({"preset": "full", "place": ("nowhere",)}, "place = 'nowhere': must be one of smollm2-135m-layer4"),
        ({"preset": "full", "model": "elsewhere"}, "model = 'elsewhere': needs one --place of smollm2-135m-layer4"),
    ):
        with pytest.raises(InvalidArgument, match=message):
            assert Nulls(out=tmp_path, **wrong).places


def test_a_model_may_write_the_text_itself(tmp_path, tiny_model_folder):
    folder = tmp_path / "model"
    shutil.copytree(tiny_model_folder, folder)
    tokenizer = load_language_model(str(folder)).tokenizer
    tokenizer.eos_token = tokenizer.convert_ids_to_tokens(3)
    tokenizer.save_pretrained(folder)
    setting = replace(tiny_setting("absent", folder), sampled=64)
    setting = replace(setting, harvest=replace(setting.harvest, context=8, train_contexts=20, held_out_contexts=2))
    store = SAESuite(setting, tmp_path / "out").store
    assert isinstance(store, ActivationStore)
    assert store.description["documents"]["train"] > 1
    assert len(list((tmp_path / "out" / "text").glob("*.jsonl"))) == 2
