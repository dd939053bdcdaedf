"""The experiment of structures that do not pay, at a tiny scale: once, and resumed."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from support.suite_setting import tiny_setting

from expander_theory import InvalidFile
from expander_theory.plotting import figure_sources
from expander_theory.results import StructureRecord, read_ledger, records_of
from experiments.commands.decoders import Structures
from sae_bridge.evaluation import replacement
from sae_bridge.sae import load_sae, storage
from sae_bridge.suites import SAESuite
from sae_bridge.suites.structures import _in_own_basis, in_basis

NAMES = ["d4-learned-omp", "d4-learned-omp-random", "d4-learned-omp-principal", "coordinates-r2", "r2-d3-learned-omp"]


@pytest.fixture(scope="module")
def results(tmp_path_factory, tiny_model_folder, text_folder):
    out = tmp_path_factory.mktemp("structures") / "results"
    setting = replace(tiny_setting(text_folder, tiny_model_folder, seeds=(0,)), rates=())
    patch = pytest.MonkeyPatch()
    patch.setattr("sae_bridge.suites.presets.QUICK", setting)
    Structures(out=out).run()
    yield out, setting
    patch.undo()


def records(out):
    return records_of(read_ledger(out / "structures" / "ledger.jsonl")[1], StructureRecord)


def test_each_structure_is_measured_against_learned_supports(results):
    out, _ = results
    found = records(out)
    assert [row.name for row in found] == NAMES
    first = found[0]
    for row in found[1:]:
        assert row.first == first.name
        gap = (np.sum(row.ce_by_context) - np.sum(first.ce_by_context)) / row.predictions
        assert row.ce_above_first == pytest.approx(gap, abs=1e-6)
    by_name = {row.name: row for row in found}
    kept = {name: storage(load_sae(out / "structures" / "sae" / name)[0]) for name in NAMES}
    rotations = {NAMES[1]: 0, NAMES[2]: first.m**2}  # values; a random one is drawn again from its seed
    for name in NAMES[:3]:
        extra = rotations.get(name, 0)
        assert by_name[name].decoder_values == kept[name]["decoder_values"] + extra
        assert by_name[name].bytes_packed == kept[name]["bytes_packed"] + 2 * extra
    coordinates = by_name["coordinates-r2"]
    assert (coordinates.n, coordinates.decoder_values) == (first.m + 2, 2 * first.m)
    assert coordinates.bytes_packed == 2 * (coordinates.decoder_values + first.m)  # two columns and b_dec


def test_coordinates_stay_coordinates(results):
    out, _ = results
    sae, _ = load_sae(out / "structures" / "sae" / "coordinates-r2")
    assert np.array_equal(sae.mask.rows[:, 0], np.arange(sae.m))
    assert torch.equal(sae.weight.abs(), torch.ones_like(sae.weight))


@pytest.mark.parametrize("basis", ["random", "principal"])
def test_a_rotated_sae_is_put_into_the_model_in_the_models_own_basis(results, basis):
    out, setting = results
    suite = SAESuite(setting, out)
    sae, fields = load_sae(out / "structures" / "sae" / f"d4-learned-omp-{basis}")
    rotated, rows = in_basis(suite.store, basis, 0)
    assert fields["activations_sha256"] == rotated.sha256
    found = _in_own_basis(sae, rows)(suite.store.rows("held_out"))
    torch.testing.assert_close(found @ rows.T, replacement(sae)(rotated.rows("held_out")), rtol=1e-3, atol=1e-3)


def test_another_seed_is_another_ledger(results):
    out, _ = results
    with pytest.raises(InvalidFile, match="seed"):
        Structures(out=out, seeds=(1,)).run()


def test_a_finished_ledger_is_only_read_and_tabulated(results, capsys):
    out, _ = results
    ledger = out / "structures" / "ledger.jsonl"
    before = ledger.read_bytes()
    Structures(out=out).run()
    assert ledger.read_bytes() == before
    assert "structures" in capsys.readouterr().out
    _, drawing = figure_sources()["structures"].found(out)
    (rows,) = (table.rows for table in drawing.tables.values())
    assert [row["CE above the first's"] == "" for row in rows] == [True, False, False, False, False]
