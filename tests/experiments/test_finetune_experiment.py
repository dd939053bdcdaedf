"""The experiment of short finetunes at a tiny scale: from text to the verdict, once and resumed."""

from dataclasses import replace

import numpy as np
import pytest
from support.suite_setting import tiny_setting

from expander_theory.results import FinetuneRecord, Ledger, read_ledger, records_of
from experiments.commands.decoders import Finetune
from experiments.saes import finetune as experiment
from paper_figures.claims import CLAIMS
from sae_bridge.commands.evaluate import Evaluate
from sae_bridge.commands.finetune import Finetune as Command
from sae_bridge.sae import load_sae
from sae_bridge.suites import SAESuite
from sae_bridge.suites.presets import FinetuneSizes

(CLAIM,) = (claim for claim in CLAIMS if claim.name == "end-to-end finetune")
NAMES = ["control-rate0.002", "exact-rate0.002", "constant-rate0.002", "exact-weight4-rate0.002"]


@pytest.fixture(scope="module")
def results(tmp_path_factory, tiny_model_folder, text_folder):
    out = tmp_path_factory.mktemp("finetune") / "results"
    sizes = FinetuneSizes(steps=3, contexts=6, rates=(2e-3,), weights=(4.0,))
    setting = replace(tiny_setting(text_folder, tiny_model_folder, seeds=(0,)), rates=(), finetune=sizes)
    patch = pytest.MonkeyPatch()
    patch.setattr("sae_bridge.suites.presets.QUICK", setting)
    Finetune(out=out).run()
    yield out, setting
    patch.undo()


def records(out):
    return records_of(read_ledger(out / "finetune" / "ledger.jsonl")[1], FinetuneRecord)


def test_every_finetune_stands_beside_its_start_and_its_control(results):
    out, _ = results
    before, *after = records(out)
    assert (before.name, before.start, before.steps, before.weight) == ("d4-learned-omp-seed0", "", 0, None)
    assert [row.name for row in after] == NAMES
    by_name = {row.name: row for row in after}
    for row in after:
        assert (row.start, row.steps, row.step_contexts) == (before.name, 3, 6)
        gap = (np.sum(row.ce_by_context) - np.sum(before.ce_by_context)) / row.predictions
        assert row.ce_above_start == pytest.approx(gap, abs=1e-6)
        assert row.ce_above_start == pytest.approx(row.ce - before.ce, abs=1e-6)
        assert row.fvu_above_start == pytest.approx(row.fvu - before.fvu)
        assert (row.n, row.d, row.k, row.encoder) == (before.n, before.d, before.k, before.encoder)
        assert 0 < row.cosine < 1
        assert [step for step, *_ in row.curve] == [0, 1, 2]
        assert all((kl is None) == (row.weight == 0) for *_, kl in row.curve)
    control = by_name["control-rate0.002"]
    assert control.ce_above_control is None
    for name in NAMES[1:]:
        assert by_name[name].ce_above_control == pytest.approx(by_name[name].ce - control.ce, abs=1e-6)
    for name in NAMES[2:]:  # the same batch, before any step
        assert by_name[name].curve[0] == pytest.approx(by_name[NAMES[1]].curve[0], rel=1e-5)
    assert (by_name["constant-rate0.002"].codes, by_name["exact-weight4-rate0.002"].weight) == ("constant", 4)


def test_its_saes_lie_apart_and_say_what_they_are(results):
    out, _ = results
    assert {path.name for path in (out / "finetune" / "sae").iterdir()} == set(NAMES)
    assert {path.name for path in (out / "sae").iterdir()} == {"d4-learned-omp-seed0"}
    assert not (out / "saes").exists()
    for name in NAMES:
        assert "finetuned" in load_sae(out / "finetune" / "sae" / name)[1]


def test_a_second_run_changes_no_byte(results, monkeypatch, capsys):
    out, _ = results
    path = out / "finetune" / "ledger.jsonl"
    before = path.read_bytes()
    monkeypatch.setattr("sae_bridge.training.training_run.TrainingRun.advance", lambda *_: pytest.fail("trained again"))
    monkeypatch.setattr(
        "sae_bridge.suites.short_finetunes.measure_losses", lambda *_, **__: pytest.fail("measured again")
    )
    Finetune(out=out).run()
    assert path.read_bytes() == before
    assert capsys.readouterr().out.count("CE above the start") == 1


@pytest.mark.parametrize(
    ("start", "control", "verdict"),
    [
        ((-0.3, -0.1), (-0.2, -0.05), "supported"),
        ((-0.3, -0.1), (-0.2, 0.05), "partly"),
        ((-0.3, 0.1), (-0.2, -0.05), "not supported"),
        ((-0.3, 0.1), None, "not supported"),
    ],
)
def test_the_verdict_is_that_of_the_paired_intervals(results, tmp_path, start, control, verdict):
    out, _ = results
    identity, _ = read_ledger(out / "finetune" / "ledger.jsonl")
    with Ledger(tmp_path / "finetune" / "ledger.jsonl", identity) as ledger:
        for row in records(out):
            if row.name == NAMES[1]:
                bounds = {"ce_above_start_interval": start, "ce_above_control_interval": control}
                row = replace(row, ce=0.0, delta=0.01, **bounds)
            ledger.append(row)
    found = CLAIM.finding(tmp_path)
    assert found.verdict == verdict
    assert found.numbers[-1].startswith("the best (KL, exact codes, rate 0.002) closes")
    assert f"finetunes of 3 steps ({3 * 6 * 16} tokens)" in found.scale


def test_a_ledger_without_a_finetune_says_nothing(results, tmp_path):
    out, _ = results
    identity, _ = read_ledger(out / "finetune" / "ledger.jsonl")
    with Ledger(tmp_path / "finetune" / "ledger.jsonl", identity) as ledger:
        ledger.append(records(out)[0])
    assert CLAIM.finding(tmp_path).verdict == "not run"


def test_the_command_prints_before_and_after(results, tmp_path, capsys):
    out, _ = results
    sae = out / "sae" / "d4-learned-omp-seed0"
    Command(sae, out / "activations", tmp_path / "tuned", steps=2, batch=4, rate=2e-3).run()
    table = capsys.readouterr().out
    assert [line.split("|")[1].strip() for line in table.splitlines()[2:4]] == ["before", "after"]
    assert "mean cosine" in table
    assert load_sae(tmp_path / "tuned")[1]["finetuned"] == {"codes": "exact", "weight": 1.0}
    Evaluate(out / "activations", (sae, tmp_path / "tuned"), nulls="none").run()
    said = capsys.readouterr().out
    assert f"{tmp_path / 'tuned'}: it was finetuned on the language model's output" in said
    assert f"{sae}: it was" not in said


def test_the_suite_trains_what_it_starts_from(results):
    out, setting = results
    assert experiment.run(SAESuite(setting, out)) == records(out)
