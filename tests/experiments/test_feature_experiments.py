"""The experiments on features at a tiny scale: known features, scores of trained ones; once, stopped and resumed."""

import csv
import shutil
from dataclasses import replace

import pytest
from support.suite_setting import TINY_TRUTH, tiny_setting

from expander_theory.cli import main
from expander_theory.results import (
    AgreementRecord,
    FeaturesRecord,
    JudgedRecord,
    Ledger,
    PlantedRecord,
    ProbePoint,
    RawProbesRecord,
    TruthRecord,
    read_ledger,
    read_records,
)
from experiments.saes import ground_truth
from paper_figures.claims import CLAIMS
from paper_figures.figures.features.ground_truth import by_sae, mean
from sae_bridge.features import feature_scores
from sae_bridge.judging import Sizes
from sae_bridge.suites import TRUTH_SCALES, conditions

CLAIM = {claim.name: claim for claim in CLAIMS}
FOUND, AS_GOOD = CLAIM["pursuit finds features"], CLAIM["features as good as dense ones"]


@pytest.fixture(scope="module")
def truth(tmp_path_factory):
    """Known features, run by the command."""
    patch = pytest.MonkeyPatch()
    patch.setitem(TRUTH_SCALES, "quick", TINY_TRUTH)
    out = tmp_path_factory.mktemp("truth") / "results"
    main(["experiment", "ground-truth", "--out", str(out)])
    yield out
    patch.undo()


def test_every_law_has_its_saes_known_directions_and_nulls(truth):
    path = truth / "truth" / "ledger.jsonl"
    groups = by_sae(read_records(path, TruthRecord))
    laws = {record.condition: record for record in read_records(path, PlantedRecord)}
    assert set(laws) == set(TINY_TRUTH.conditions)
    for condition in conditions(TINY_TRUTH):
        names = {name for law, name in groups if law == condition.name}
        learners = {learner.name for learner in condition.learners}
        assert names == learners | {"known-topk", "known-omp", "null-random", "null-coordinates"}
        assert all(len(groups[condition.name, name]) == 2 for name in learners)  # seeds
        known = groups[condition.name, "known-omp"]
        assert mean(known, "mcc") == pytest.approx(1, abs=1e-6)
        assert mean(known, "f1") > mean(groups[condition.name, "null-random"], "f1")
        law = laws[condition.name]
        assert law.recovered >= law.guaranteed  # whatever is guaranteed is recovered
        assert law.certified_k >= 1
    assert {r.judged for r in groups["hierarchy", "dense-omp"]} != {0}
    again = read_records(path, AgreementRecord)
    assert {(r.condition, r.name) for r in again} == {key for key, g in groups.items() if g[0].role == "trained"}


def test_own_mask_and_learned_supports_are_what_they_say(truth):
    names = {learner.name for learner in conditions(TINY_TRUTH)[1].learners}
    assert {"own-mask-omp", "d3-learned-omp", "r2-d3-learned-topk"} <= names
    groups = by_sae(read_records(truth / "truth" / "ledger.jsonl", TruthRecord))
    for name, most in (("d3-learned-omp", 3 * 24), ("r2-d3-learned-omp", 2 * 12 + 3 * 22), ("dense-omp", 12 * 24)):
        values = [record.decoder_values for record in groups["expander", name]]
        assert 0.9 * most < min(values) <= max(values) <= most  # a value that no gradient reached may be 0


def test_a_run_that_was_stopped_goes_on_to_the_same_records(truth, tmp_path, monkeypatch):
    done, seen = read_ledger(truth / "truth" / "ledger.jsonl")[1], []
    small = replace(TINY_TRUTH, conditions=("dense",))

    def stop(*given):
        seen.append(given)
        raise KeyboardInterrupt

    monkeypatch.setattr("sae_bridge.suites.planted_record", stop)
    with pytest.raises(KeyboardInterrupt):
        ground_truth.run(small, tmp_path)
    monkeypatch.undo()
    assert seen
    with Ledger(tmp_path / "ledger.jsonl", read_ledger(tmp_path / "ledger.jsonl")[0]) as ledger:
        assert ledger.records == []
        for record in done[:5]:  # as if it had been stopped while it wrote
            ledger.append(record)
    monkeypatch.setattr("sae_bridge.training.training_run.TrainingRun.advance", lambda *_: pytest.fail("trained again"))
    ground_truth.run(small, tmp_path)
    found = read_ledger(tmp_path / "ledger.jsonl")[1]
    assert found == [record for record in done if record.condition == "dense"]


def test_a_second_run_trains_nothing_and_draws_the_same(truth, monkeypatch):
    before = {path: path.read_bytes() for path in truth.rglob("*.*") if path.is_file()}
    monkeypatch.setattr("sae_bridge.training.training_run.TrainingRun.advance", lambda *_: pytest.fail("trained again"))
    main(["experiment", "ground-truth", "--out", str(truth)])
    assert {path: path.read_bytes() for path in truth.rglob("*.*") if path.is_file()} == before


def test_the_figure_holds_what_was_found(truth):
    with (truth / "figures" / "ground_truth.csv").open() as file:
        rows = list(csv.DictReader(file))
    records = read_records(truth / "truth" / "ledger.jsonl", TruthRecord)
    assert len(rows) == len(records)
    for row, record in zip(rows, records, strict=True):
        assert float(row["f1"]) == pytest.approx(record.f1, rel=1e-4, abs=1e-9)


def made_truth(folder, better):
    """A ledger in which OMP is better than TopK on the first so many of two laws."""
    fields = {
        name: 0.5 for name in ("precision", "recall", "f1_thresholded", "f1_by_column", "split", "found", "alive")
    }
    counts = {"n": 8, "k": 2, "decoder_values": 9, "steps": 3, "l0": 2.0, "true_l0": 2.0, "judged": 0}
    identity = {"kind": "ground truth", "base": {"m": 4, "n": 8, "l0": 2.0}, "steps": 3, "batch": 4, "seeds": [0, 1]}
    with Ledger(folder / "truth" / "ledger.jsonl", identity) as ledger:
        for at, law in enumerate(("dense", "n4")):
            for encoder in ("topk", "omp"):
                for seed in (0, 1):
                    up = 0.1 * (encoder == "omp") * (1 if at < better else -1)
                    about = {"name": f"dense-{encoder}", "label": "dense", "role": "trained", "encoder": encoder}
                    measures = {**fields, "mcc": 0.6 + up, "f1": 0.5 + up, "fvu": 0.3 - 0.1 * (encoder == "omp")}
                    ledger.append(TruthRecord(condition=law, decoder="dense", seed=seed, **about, **counts, **measures))
            shares = {"guaranteed": 0.5, "recovered": 0.9, "guaranteed_interval": None, "recovered_interval": None}
            sizes = {"m": 4, "n": 8, "structure": "dense", "tokens": 9, "l0": 2.0, "coherence": 0.4, "certified_k": 1}
            ledger.append(PlantedRecord(condition=law, label=law, law={}, supports=5, **sizes, **shares))
    return folder


@pytest.mark.parametrize(("better", "verdict"), [(2, "supported"), (1, "partly"), (0, "not supported")])
def test_the_claim_on_known_features_asks_for_every_law(tmp_path, better, verdict):
    found = FOUND.finding(made_truth(tmp_path, better))
    assert found.verdict == verdict
    assert f"FVU lower on 2 of 2 conditions, MCC higher on {better}, F1 of firing on {better}" in found.numbers[0]


@pytest.fixture(scope="module")
def scored(tmp_path_factory, tiny_model_folder, text_folder):
    """Scores and probes of the tiny setting's SAEs, by the command."""
    out, texts = tmp_path_factory.mktemp("features") / "results", tmp_path_factory.mktemp("labelled")
    for path in sorted(text_folder.glob("*.txt")):
        words = path.read_text().split()
        label = "even" if len(path.stem) and int(path.stem[3:]) % 2 == 0 else "odd"
        (texts / label).mkdir(exist_ok=True)
        (texts / label / path.name).write_text(" ".join(["cat" if label == "even" else "rain", *words[:30]]))
    setting = tiny_setting(text_folder, tiny_model_folder)
    features = replace(setting.features, texts=str(texts), ks=(1, 5))
    patch = pytest.MonkeyPatch()
    setting = replace(setting, features=features, equal_inference=replace(setting.equal_inference, seeds=(0, 1)))
    patch.setattr("sae_bridge.suites.presets.QUICK", setting)
    main(["experiment", "features", "--out", str(out)])
    yield out
    patch.undo()


def test_saes_of_every_seed_and_nulls_are_scored_and_probed(scored):
    path = scored / "features" / "ledger.jsonl"
    records = {record.name: record for record in read_records(path, FeaturesRecord)}
    variants = ("d4", "dense", "d4-learned-omp", "r2-d3-learned-omp")
    nulls = {"null-k4", "null-principal-k4", "null-untrained-d4-n64-k4"}
    assert set(records) == {f"{name}-seed{seed}" for name in variants for seed in (0, 1)} | nulls
    for record in records.values():
        assert record.units > 0
        assert 0.3 < record.token_auc[1] <= 1
        assert [probe.k for probe in record.probes] == [1, 5]
        assert all(probe.low <= probe.accuracy <= probe.high for probe in record.probes)
    assert {r.label: [p.k for p in r.probes] for r in read_records(path, RawProbesRecord)} == {
        "coordinates": [1, 5], "principal components": [1, 5], "all coordinates": [32],
    }  # fmt: skip
    assert {record.name for record in read_records(path, AgreementRecord)} == set(variants)


def test_a_second_run_scores_nothing_again(scored, monkeypatch):
    before = (scored / "features" / "ledger.jsonl").read_bytes()
    monkeypatch.setattr("sae_bridge.suites.scored_features.feature_scores", lambda *_: pytest.fail("scored again"))
    main(["experiment", "features", "--out", str(scored)])
    assert (scored / "features" / "ledger.jsonl").read_bytes() == before
    assert AS_GOOD.finding(scored).verdict in ("supported", "partly", "not supported")
    assert "2.83" in AS_GOOD.finding(scored).numbers[-1]


def test_a_run_that_is_stopped_keeps_what_it_has_scored(scored, tmp_path, monkeypatch):
    out, calls = tmp_path / "results", []
    shutil.copytree(scored, out, ignore=shutil.ignore_patterns("features"))

    def scores(*given, **options):
        calls.append(given)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return feature_scores(*given, **options)

    monkeypatch.setattr("sae_bridge.suites.scored_features.feature_scores", scores)
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        main(["experiment", "features", "--out", str(out)])
    path = out / "features" / "ledger.jsonl"
    kept = read_records(path, FeaturesRecord)
    assert kept == read_records(scored / "features" / "ledger.jsonl", FeaturesRecord)[:2]
    main(["experiment", "features", "--out", str(out)])
    assert len(calls) == 3 + 11 - 2
    assert read_ledger(path)[1] == read_ledger(scored / "features" / "ledger.jsonl")[1]


def test_a_judge_s_scores_come_beside_them(scored, monkeypatch):
    asked = []

    class Constant:
        @property
        def identity(self):
            return {"judge": "constant"}

        def count(self, system, user):
            return 1

        def answer(self, system, user, most):
            asked.append(user)
            return "[EXPLANATION]: words" if most > 100 else "[1, 1, 1, 1, 1]"

    monkeypatch.setattr("sae_bridge.judging.judge_named", lambda *_, **__: Constant())
    monkeypatch.setattr("sae_bridge.judging.Sizes", lambda: Sizes(explain=4, test=5, window=4))
    main(["experiment", "features", "--out", str(scored), "--judge", "constant", "--judged", "2"])
    judged = read_records(scored / "features" / "judged" / "ledger.jsonl", JudgedRecord)
    assert judged
    assert {record.detection for record in judged} == {0.5}
    assert all("seed0" not in user and "null" not in user for user in asked)
    table = (scored / "figures" / "tables" / "feature_scores.csv").read_text()
    assert "detection" in table.splitlines()[0]
    assert ",0.5,0.5," in table


def made_scores(folder, sparse):
    """A ledger of one sparse and one dense SAE, whose window AUC is .7."""
    identity = {"kind": "features", "model": "default", "layer": 3, "m": 8}
    with Ledger(folder / "features" / "ledger.jsonl", identity) as ledger:
        for name, architecture, auc in (("d4", "expander", sparse), ("dense", "dense", 0.7)):
            for seed in (0, 1):
                about = {"name": f"{name}-seed{seed}", "variant": name, "label": name, "seed": seed, "units": 9}
                sizes = {"n": 9, "d": 4, "k": 2, "decoder_values": 1, "bytes_packed": 1, "tokens": 0.1}
                ledger.append(
                    FeaturesRecord(
                        **about, **sizes, role="trained", encoder="tied", architecture=architecture,
                        token_auc=(0.5, 0.6, 0.7), window_auc=(0.5, auc + 0.01 * seed, 0.9), entropy=(1.0, 2.0, 3.0),
                        identified=0.5, probes=(ProbePoint(k=5, accuracy=0.8, low=0.7, high=0.9),),
                        activations_sha256=64 * "0",
                    )
                )  # fmt: skip
    return folder


@pytest.mark.parametrize(("sparse", "verdict"), [(0.8, "supported"), (0.6, "not supported")])
def test_the_claim_on_features_compares_with_the_dense_sae_seed_by_seed(tmp_path, sparse, verdict):
    assert AS_GOOD.finding(made_scores(tmp_path, sparse)).verdict == verdict
