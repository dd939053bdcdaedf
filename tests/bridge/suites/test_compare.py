"""``expander sae compare`` from text to table, for each architecture of the paper, with small random weights."""

from dataclasses import replace

import pytest
from conftest import save_tiny_model

from expander_theory import InvalidArgument, InvalidFile
from expander_theory.results import EvaluationRecord, records_of
from expander_theory.results.ledger import read_ledger
from sae_bridge.activations import Harvest
from sae_bridge.commands.compare import Compare
from sae_bridge.suites import Setting, comparisons, presets as module
from sae_bridge.suites.suite import SAESuite
from sae_bridge.training.recipe import Training


@pytest.fixture
def tiny(monkeypatch, text_folder):
    """A preset of seconds in the place of "quick"."""
    setting = Setting(
        name="compare-quick",
        model="",
        text=(str(text_folder),),
        harvest=Harvest(layer=1, context=16, train_contexts=60, held_out_contexts=10),
        degrees=(None, 8, 4),
        recipe=Training(n=64, k=4, steps=30, dead_after=500),
        batch=128,
        rates=(4e-3, 16e-3),
        rate_steps=10,
        pursued=True,
    )
    monkeypatch.setattr(module, "COMPARE", setting)
    return setting


@pytest.mark.parametrize("architecture", ["gpt_neox", "qwen2", "llama"])
def test_from_text_to_table(tiny, tmp_path, capsys, monkeypatch, architecture):
    model = save_tiny_model(tmp_path / "model", architecture)
    command = Compare("quick", tmp_path / "out", model=str(model))
    command.run()
    table = capsys.readouterr().out
    identity, records = read_ledger(tmp_path / "out" / "saes" / "ledger.jsonl")
    assert identity["model"] == str(model)
    rows = {record.name: record for record in records_of(records, EvaluationRecord)}
    assert list(rows) == ["dense-seed0", "d8-seed0", "d4-seed0"]
    assert [row.decoder_values for row in rows.values()] == [32 * 64, 8 * 64, 4 * 64]
    assert all(0 < row.omp_fvu < row.fvu for row in rows.values())
    assert rows["dense-seed0"].fvu < rows["d4-seed0"].fvu
    for word in ("decoder values", "OMP: FVU", "CE recovered (zero)", "train MB", "d4-seed0", "learned nothing"):
        assert word in table
    for name in ("dense", "d8", "d4"):
        _, sweep = read_ledger(tmp_path / "out" / "rates" / name / "rates.jsonl")
        tried = {record.learning_rate: record.fvu for record in sweep}
        assert rows[f"{name}-seed0"].learning_rate == min(tried, key=tried.get)

    monkeypatch.setattr(SAESuite, "_evaluate", lambda *_: pytest.fail("evaluated again"))
    command.run()
    assert capsys.readouterr().out == table


def test_the_papers_figures_stand_beside_ours(tiny, tmp_path, capsys, monkeypatch):
    model = save_tiny_model(tmp_path / "model")
    monkeypatch.setattr(module, "COMPARE", replace(tiny, rates=(), reported=(("dense tied", 0.9), ("d=8", 0.8))))
    Compare("quick", tmp_path / "out", model=str(model)).run()
    header, _, *rows = capsys.readouterr().out.splitlines()[:5]
    assert "paper: CE recovered" in header
    assert [row.split("|")[-2].strip() for row in rows] == ["0.9", "0.8", ""]


def test_what_is_refused(tiny, tmp_path):
    with pytest.raises(InvalidArgument, match=r"preset = 'slow'.*quick"):
        Compare("slow", tmp_path).run()
    model = save_tiny_model(tmp_path / "model")
    Compare("quick", tmp_path / "out", model=str(model)).run()
    with pytest.raises(InvalidFile, match="steps"):
        Compare("quick", tmp_path / "out", model=str(model), steps=31).run()


def test_more_degrees_and_seeds_add_to_what_is_there(tiny, tmp_path, capsys):
    model = str(save_tiny_model(tmp_path / "model"))
    Compare("quick", tmp_path / "out", model=model, d=(8,)).run()
    first = (tmp_path / "out" / "saes" / "ledger.jsonl").read_text().splitlines()
    Compare("quick", tmp_path / "out", model=model, d=(8, 4), seeds=(0, 1)).run()
    rows = [line for line in capsys.readouterr().out.splitlines() if "seed1" in line]
    assert [row.split("|")[1].strip() for row in rows] == ["dense-seed1", "d8-seed1", "d4-seed1"]
    assert (tmp_path / "out" / "saes" / "ledger.jsonl").read_text().splitlines()[1 : len(first)] == first[1:]


def test_presets_of_the_paper():
    known = comparisons()
    qwen = known["qwen2.5-3b-layer12"]
    assert 7 in qwen.degrees
    assert qwen.harvest.layer == 12
    assert qwen.batch == 256
    assert dict(qwen.reported)
    for name in ("pythia-70m-layer3", "pythia-160m-layer4", "pythia-160m-layer8", "llama-3.2-1b-layer6"):
        assert name in known
