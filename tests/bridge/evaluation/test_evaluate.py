import json
from dataclasses import asdict, replace

import pytest
import torch

from expander_theory import InvalidArgument, InvalidFile, uniform_mask
from expander_theory.results import fields_of, table, table_row
from sae_bridge.commands.evaluate import Evaluate, _columns
from sae_bridge.evaluation.evaluate import evaluation_rows, replacement, require_trained_on
from sae_bridge.evaluation.model_fidelity import fidelity, measure_losses
from sae_bridge.evaluation.reconstruction import reconstruction
from sae_bridge.sae import load_sae
from sae_bridge.sae.sae import ExpanderSAE, TopKSAE


class Exact(TopKSAE):
    """Reconstructs perfectly: features +e_i and -e_i, all of them active."""

    def __init__(self, m):
        super().__init__(m, 2 * m, 2 * m)
        with torch.no_grad():
            self.weight.copy_(torch.cat([torch.eye(m), -torch.eye(m)]))


@pytest.fixture(scope="module")
def saes():
    expander = ExpanderSAE(uniform_mask(32, 64, 4, seed=0), 4, encoder="warm").eval()
    return {"exact": Exact(32).eval(), "expander": expander}


@pytest.fixture(scope="module")
def rows(tiny_store, saes):
    return {row.name: row for row in evaluation_rows(saes, *tiny_store, progress=False)}


def test_a_row_holds_what_the_measurements_say_one_by_one(tiny_store, saes, rows):
    model, store = tiny_store
    sae = saes["expander"]
    alone = fidelity({"x": replacement(sae)}, model, store, progress=False)["x"]
    expected = {**asdict(reconstruction(sae, store, progress=False)), **asdict(alone)}
    row = rows["expander"]
    assert {name: getattr(row, name) for name in expected} == expected
    about = {"architecture": "expander", "m": 32, "n": 64, "d": 4, "k": 4, "decoder_values": 256, "encoder": "untied"}
    assert {name: getattr(row, name) for name in about} == about
    assert rows["exact"].architecture == "dense"
    assert json.loads(json.dumps(fields_of(row), allow_nan=False))["fvu"] == row.fvu


def test_a_perfect_sae_recovers_everything(rows):
    row = rows["exact"]
    assert row.fvu < 1e-10
    assert row.l0 == pytest.approx(32, abs=0.5)
    assert row.recovered_zero == pytest.approx(1, abs=1e-4)
    assert row.recovered_mean == pytest.approx(1, abs=1e-4)
    assert row.delta == pytest.approx(0, abs=1e-5)
    assert row.kl == pytest.approx(0, abs=1e-6)


def test_rows_fit_a_table(rows):
    shown = table_row(rows["expander"])
    assert shown["dead"] == f"{rows['expander'].dead}/64"
    assert shown["KL"].startswith(f"{rows['expander'].kl:.3f} [")
    undefined = table_row(replace(rows["expander"], recovered_zero=None, kl_interval=None))
    assert undefined["recovered (zero)"] == "undefined"
    assert undefined["KL"] == f"{rows['expander'].kl:.3f}"
    assert "recovered (mean)" in table([shown, undefined])


def test_a_replacement_through_other_codes_in_another_dtype(saes):
    sae = saes["expander"]
    h = torch.randn(5, 32)
    none = replacement(sae, lambda x: (torch.zeros(len(x), 1), torch.zeros(len(x), 1, dtype=torch.int64)))(h)
    assert torch.equal(none, (sae.b_dec / sae.scale).detach().expand(5, 32))
    double = ExpanderSAE(uniform_mask(32, 64, 4, seed=0), 4, encoder="warm").double()
    with torch.no_grad():
        assert replacement(double)(h).dtype == torch.float32
        torch.testing.assert_close(replacement(double)(h), sae(h)[0])


def test_an_sae_that_codes_by_the_batch_is_refused(tiny_store):
    sae = TopKSAE(32, 64, 4, activation="batch_topk")
    with pytest.raises(InvalidArgument, match="call eval"):
        evaluation_rows({"x": sae.train()}, *tiny_store, progress=False)
    assert evaluation_rows({"x": sae.eval()}, *tiny_store, progress=False)[0].activation == "batch_topk"


def test_another_width_is_refused(tiny_store):
    with pytest.raises(InvalidArgument, match="x = m = 31: must have the activations' width 32"):
        evaluation_rows({"x": TopKSAE(31, 40, 3)}, *tiny_store)


def test_an_sae_of_other_activations_is_refused(tiny_store):
    store = tiny_store[1]
    require_trained_on(store, {"activations_sha256": store.sha256}, "x")
    with pytest.raises(InvalidFile, match="trained on other activations"):
        require_trained_on(store, {"activations_sha256": "0"}, "x")


class TestCommand:
    @pytest.fixture
    def folder(self, tmp_path, tiny_store, saes):
        saes["expander"].save(tmp_path / "sae", {"activations_sha256": tiny_store[1].sha256})
        return tmp_path / "sae"

    def test_prints_the_table_and_what_it_means(self, folder, tiny_store, rows, tmp_path, capsys):
        Evaluate(tiny_store[1].folder, (folder,), out=tmp_path / "rows.json", baseline="all").run()
        shown = capsys.readouterr().out
        assert "recovered (zero)" in shown
        assert "ablations on every position" in shown
        assert f"Dead: fire on none of {rows['expander'].seen_tokens:,} tokens" in shown
        row, *nulls = json.loads((tmp_path / "rows.json").read_text())
        assert row["collapse"]["effective_degree"] >= 1
        assert {null["architecture"] for null in nulls} == {"null"}
        assert sum(null["name"].startswith("coordinate null, k = ") for null in nulls) == 1
        assert all(null["name"] in shown and null["collapse"] is None for null in nulls)
        assert "eff. degree" in shown
        assert row["baseline"] == "all"
        assert row["ce"] == pytest.approx(rows["expander"].ce, rel=1e-6)
        assert row["recovered_zero"] != pytest.approx(rows["expander"].recovered_zero, rel=1e-6)

    def test_an_untrained_mask_is_none_that_was_learned(self, folder, tiny_store, capsys):
        """Nulls are of the size of an SAE, not on its supports; of two sizes there are two."""
        learned = uniform_mask(32, 64, 4, seed=3)
        own = _columns(ExpanderSAE(learned, 4))
        assert (own.m, own.n, own.d) == (32, 64, 4)
        assert own != learned
        sae = load_sae(folder)[0]
        other = ExpanderSAE(uniform_mask(32, sae.n + 8, sae.mask.d, seed=0), sae.k)
        other.save(folder.parent / "larger", {"activations_sha256": tiny_store[1].sha256})
        Evaluate(tiny_store[1].folder, (folder, folder.parent / "larger")).run()
        shown = capsys.readouterr().out
        for n in (sae.n, sae.n + 8):
            assert f"untrained mask, d = {sae.mask.d}, n = {n}, OMP, k = {sae.k}" in shown

    def test_refuses(self, folder, tiny_store, tmp_path):
        store = tiny_store[1].folder
        with pytest.raises(InvalidArgument, match="saes"):
            Evaluate(store, ()).run()
        with pytest.raises(InvalidArgument, match="must be different folders"):
            Evaluate(store, (folder, folder)).run()
        with pytest.raises(InvalidFile, match="exists already"):
            Evaluate(store, (folder,), out=folder / "cfg.json").run()
        TopKSAE(31, 40, 3).save(tmp_path / "narrow", {})
        with pytest.raises(InvalidArgument, match="m = 31"):
            Evaluate(store, (tmp_path / "narrow",)).run()
        TopKSAE(32, 40, 3).save(tmp_path / "foreign", {})
        with pytest.raises(InvalidFile, match="other activations"):
            Evaluate(store, (tmp_path / "foreign",)).run()

    @pytest.mark.parametrize(
        ("fields", "says"),
        [
            ({"layer": 2}, "layer is 2 there and 1 here"),
            ({"hook": "resid_pre"}, "hook is 'resid_pre' there and 'resid_post' here"),
            ({"language_model": "gpt2"}, "the language model is 'gpt2' there"),
            ({"model_fingerprint": "0" * 16}, "the language model is '0000000000000000' there"),
        ],
    )
    def test_other_text_is_accepted_and_another_place_named(self, tiny_store, fields, says):
        store = tiny_store[1]
        about = {"activations_sha256": "0", "layer": 1, "hook": "resid_post", **fields}
        for accepted in (False, True):
            with pytest.raises(InvalidFile, match=says):
                require_trained_on(store, about, "x", other_activations=accepted)
        require_trained_on(store, about, "x", other_place=True)

    def test_what_an_sae_made_elsewhere_says_of_its_model_is_compared_by_name(self, tiny_store):
        store = tiny_store[1]
        here = str(store.description["model"])
        fields = {"language_model": f"somebody/{here.rpartition('/')[2]}", "layer": 1}
        require_trained_on(store, fields, "x", other_activations=True)


class TestDefaultModel:
    def test_ablation_hurts_and_mean_ablation_less(self, default_model, tmp_path):
        from pydoc_data.topics import topics  # real English prose that every Python has

        from sae_bridge.activations import Harvest, harvest
        from sae_bridge.activations.text import TextSource

        (tmp_path / "text").mkdir()
        for name, text in topics.items():
            (tmp_path / "text" / f"{name}.txt").write_text(text)
        what = Harvest(context=32, train_contexts=12, held_out_contexts=6)
        store = harvest(default_model, TextSource([str(tmp_path / "text")]), what, tmp_path / "s", progress=False)
        assert store.description["layer"] == 14
        changes = {"exact": replacement(Exact(576))}
        found = measure_losses(changes, default_model, store, progress=False).fidelity("exact")
        assert found.ce_clean < found.ce_mean < found.ce_zero
        assert found.recovered_zero == pytest.approx(1, abs=1e-3)
