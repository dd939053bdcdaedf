"""The frontier over bytes of packed files, at a tiny scale: once, and resumed; its figure."""

from dataclasses import replace

import pytest
from support.suite_setting import tiny_setting

from expander_theory.plotting import figure_sources
from expander_theory.results import NullRecord, PackedRecord, read_ledger, records_of
from experiments.commands.decoders import Packed
from experiments.saes.packed import VALUES, members
from paper_figures.figures.saes import packed_frontier
from sae_bridge.packing import HEADER_BYTES, Packing
from sae_bridge.sae import load_sae, packed_storage
from sae_bridge.suites import SAESuite, file_name
from sae_bridge.suites.presets import EqualInference


@pytest.fixture(scope="module")
def results(tmp_path_factory, tiny_model_folder, text_folder):
    out = tmp_path_factory.mktemp("packed") / "results"
    few = EqualInference((4,), (4,), ((2, 3),), (), (), (), seeds=(0,))
    setting = tiny_setting(text_folder, tiny_model_folder, seeds=(0, 1))
    setting = replace(setting, rates=(), degrees=(None, 4), equal_inference=few, nulls=("coordinates", "mean"))
    patch = pytest.MonkeyPatch()
    patch.setattr("sae_bridge.suites.presets.QUICK", setting)
    Packed(out=out).run()
    yield out, setting
    patch.undo()


def test_every_sae_is_packed_in_every_format_and_its_file_weighed(results):
    out, setting = results
    records = read_ledger(out / "packed" / "ledger.jsonl")[1]
    found = records_of(records, PackedRecord)
    chosen = members(SAESuite(setting, out))
    assert [(row.variant, row.seed, row.values) for row in found] == [
        (variant.name, seed, values) for variant, seed in chosen for values in VALUES
    ]
    assert {row.architecture for row in found} == {"dense", "expander", "block"}
    for row in found:
        sae, _ = load_sae(out / "sae" / f"{row.variant}-seed{row.seed}")
        arrays = packed_storage(sae, Packing(row.values))
        assert 0 < row.file_bytes - arrays - 8 <= HEADER_BYTES
        drawn = sae.mask is None or sae.mask.recipe.startswith("uniform")
        assert row.listed == (not drawn)
        assert row.ce_above_stored_interval[0] <= row.ce_above_stored <= row.ce_above_stored_interval[1]
    names = {file_name(*member) for member in chosen}
    assert {row.name.rpartition("-")[0] for row in found} == names
    assert "null-k4" in {null.name for null in records_of(records, NullRecord)}


def test_resuming_measures_nothing_again(results, monkeypatch):
    out, _ = results
    before = (out / "packed" / "ledger.jsonl").read_bytes()
    monkeypatch.setattr("sae_bridge.evaluation.measured_packings", None)
    Packed(out=out).run()
    assert (out / "packed" / "ledger.jsonl").read_bytes() == before


def test_the_figure_and_table_show_them(results):
    out, _ = results
    assert figure_sources()["packed_frontier"].ledgers == ("packed/ledger.jsonl",)
    drawing = packed_frontier.draw(out / "packed" / "ledger.jsonl")
    rows = drawing.tables["packed_frontier"].rows
    found = records_of(read_ledger(out / "packed" / "ledger.jsonl")[1], PackedRecord)
    assert len(rows) >= len({(row.variant, row.values) for row in found})
    by_bytes = [int(row["file bytes"].replace(",", "")) for row in rows if row["file bytes"]]
    assert by_bytes == sorted(by_bytes)
    assert len(drawing.data["packed_frontier"]) == len(found)
    axes = drawing.figures["packed_frontier"].axes
    assert len(axes) == 6
    assert packed_frontier.draw(out / "saes" / "ledger.jsonl") is None
