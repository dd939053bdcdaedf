import numpy as np
import pytest
import torch
from conftest import save_tiny_model

from expander_theory import InvalidArgument, InvalidFile, uniform_mask
from expander_theory.sae_rows import table_row
from sae_bridge.activations import ActivationStore
from sae_bridge.evaluate import (
    _Bootstrap,
    baseline_losses,
    context_losses,
    evaluation_row,
    fidelity,
    reconstruction,
    require_trained_on,
)
from sae_bridge.language_models import load_language_model
from sae_bridge.sae import ExpanderSAE, TopKSAE
from sae_bridge.train import Training, train


class Exact(TopKSAE):
    """Reconstructs perfectly: features +e_i and -e_i, all of them active."""

    def __init__(self, m):
        super().__init__(m, 2 * m, 2 * m)
        with torch.no_grad():
            self.weight.copy_(torch.cat([torch.eye(m), -torch.eye(m)]))


class Constant(TopKSAE):
    """Reconstructs the mean, whatever it sees."""

    def __init__(self, mean):
        super().__init__(len(mean), 4, 1)
        with torch.no_grad():
            self.b_dec.copy_(mean)
            self.b_enc.fill_(-1e6)


@pytest.fixture(scope="module")
def measured(tiny_store):
    model, store = tiny_store
    return model, store, baseline_losses(model, store, progress=False)


def test_a_perfect_sae_recovers_everything(measured):
    model, store, baselines = measured
    result = reconstruction(Exact(32), store)
    assert result.fvu < 1e-10
    assert result.dead == 0
    assert result.l0 == pytest.approx(32, abs=0.5)
    found = fidelity(Exact(32), model, store, baselines, progress=False)
    assert found.recovered_zero == pytest.approx(1, abs=1e-4)
    assert found.delta == pytest.approx(0, abs=1e-5)


def test_a_constant_recovers_nothing_of_the_variance_and_nothing_beyond_mean_ablation(measured):
    model, store, baselines = measured
    sae = Constant(store.rows("train").mean(dim=0))
    result = reconstruction(sae, store)
    assert result.fvu == pytest.approx(1, abs=0.05)  # the held-out mean differs a little
    assert result.fvu >= 1
    assert result.l0 == 0
    assert result.dead == 4
    found = fidelity(sae, model, store, baselines, progress=False)
    assert found.recovered_mean == pytest.approx(0, abs=1e-3)
    assert found.ce == pytest.approx(found.ce_mean, abs=1e-5)


def test_the_definitions(measured):
    model, store, baselines = measured
    sae = ExpanderSAE(uniform_mask(32, 64, 4, seed=0), 4)
    f = fidelity(sae, model, store, baselines, progress=False)
    for recovered, ablated in ((f.recovered_zero, f.ce_zero), (f.recovered_mean, f.ce_mean)):
        assert recovered == pytest.approx((ablated - f.ce) / (ablated - f.ce_clean))
    assert f.delta == pytest.approx(f.ce - f.ce_clean)
    assert f.delta_interval[0] <= f.delta <= f.delta_interval[1]
    assert f.documents == store.description["documents"]["held_out"]
    h = store.rows("held_out")
    r = reconstruction(sae, store, batch=17)
    with torch.no_grad():
        expected = (sae(h)[0] - h).square().sum() / (h - h.mean(dim=0)).square().sum()
    assert r.fvu == pytest.approx(float(expected), rel=1e-5)
    assert (r.tokens, r.seen_tokens) == (len(h), len(h) + len(store.rows("train")))


def test_clean_loss_is_the_model_s_own(measured):
    model, store, baselines = measured
    tokens = store.tokens("held_out")
    with torch.no_grad():
        logits = model.model(tokens).logits
    losses = torch.nn.functional.cross_entropy(logits[:, 1:-1].transpose(1, 2), tokens[:, 2:], reduction="none")
    np.testing.assert_allclose(baselines.clean, losses.mean(dim=1), rtol=1e-5)
    assert baselines.zero.mean() > baselines.clean.mean() + 0.5
    assert baselines.mean.mean() > baselines.clean.mean() + 0.5


def test_the_first_token_keeps_its_activation(measured):
    model, store, _ = measured
    widths = []

    def watch(h):
        widths.append(len(h))
        return h

    context_losses(model, store, watch, "test", progress=False, batch=4)
    assert sum(widths) == len(store.rows("held_out"))


def test_outliers_keep_their_activation(tiny_store, monkeypatch):
    monkeypatch.setattr("sae_bridge.activations.OUTLIER_RATIO", 1.0)
    model, whole = tiny_store
    store = ActivationStore(whole.folder)
    assert len(store.rows("held_out")) < len(whole.rows("held_out"))
    widths = []

    def watch(h):
        widths.append(len(h))
        assert h.norm(dim=1).max() <= store.norm_limit
        return h

    context_losses(model, store, watch, "test", progress=False)
    assert sum(widths) == len(store.rows("held_out"))


def test_a_feature_that_fires_in_training_alone_is_not_dead(measured):
    """The most extreme training token fires a feature that no held-out token reaches."""
    _, store, _ = measured
    train, held_out = store.rows("train"), store.rows("held_out")
    sae = TopKSAE(32, 1, 1)
    with torch.no_grad():
        for direction in torch.randn(200, 32, generator=torch.Generator().manual_seed(0)):
            sae.weight.copy_(direction / direction.norm())
            bias = (held_out @ sae.weight[0]).max()
            if (train @ sae.weight[0]).max() > bias:
                sae.b_enc.copy_(-bias[None])
                break
        assert int((sae.encode(held_out)[0] > 0).sum()) == 0
    assert reconstruction(sae, store).dead == 0


def test_intervals_resample_documents_with_numerator_and_denominator_together():
    documents = np.array([7, 7, 7, 9, 9, 12])
    top, bottom = np.array([1.0, 2, 3, 4, 5, 6]), np.array([2.0, 2, 4, 5, 5, 8])
    bootstrap = _Bootstrap(documents)
    assert bootstrap.documents == 3
    rng = np.random.default_rng(0)
    ratios = []
    for drawn in rng.integers(0, 3, (2000, 3)):
        chosen = np.concatenate([np.nonzero(documents == np.array([7, 9, 12])[i])[0] for i in drawn])
        ratios.append(top[chosen].sum() / bottom[chosen].sum())
    value, interval = bootstrap.ratio(top, bottom)
    assert value == pytest.approx(21 / 26)
    assert interval == pytest.approx(tuple(np.quantile(ratios, [0.025, 0.975])))


def test_a_ratio_without_a_denominator_is_undefined():
    bootstrap = _Bootstrap(np.arange(6))
    assert bootstrap.ratio(np.ones(6), np.array([1.0, -1, 1, -1, 1, -1])) == (None, None)


def test_an_sae_of_other_activations_is_refused(measured):
    _, store, _ = measured
    require_trained_on(store, {"activations_sha256": store.sha256}, "x")
    with pytest.raises(InvalidFile, match="trained on other activations"):
        require_trained_on(store, {"activations_sha256": "0"}, "x")


def test_losses_do_not_depend_on_the_batch(measured):
    model, store, baselines = measured
    other = context_losses(model, store, torch.zeros_like, "test", progress=False, batch=3)
    np.testing.assert_allclose(other, baselines.zero, rtol=1e-5)


def test_another_model_or_width_is_refused(measured, tmp_path):
    _, store, _ = measured
    other = load_language_model(str(save_tiny_model(tmp_path / "m", seed=9)))
    with pytest.raises(InvalidFile, match="harvested from another model"):
        baseline_losses(other, store, progress=False)
    with pytest.raises(InvalidArgument, match="width m = 31"):
        reconstruction(TopKSAE(31, 40, 3), store)


def test_a_row_holds_everything_and_fits_a_table(measured, tmp_path):
    model, store, baselines = measured
    sae = train(store, Training(d=4, n=64, k=4, steps=5, batch=64), tmp_path, progress=False)
    row = evaluation_row("x", sae, model, store, baselines, progress=False)
    assert row["decoder_values"] == 256
    assert row["architecture"] == "expander"
    assert table_row(row)["dead"].endswith("/64")


class TestDefaultModel:
    def test_ablation_hurts_and_mean_ablation_less(self, default_model, tmp_path):
        from pydoc_data.topics import topics  # real English prose that every Python has

        from sae_bridge.activations import Harvest, harvest
        from sae_bridge.text import TextSource

        (tmp_path / "text").mkdir()
        for name, text in topics.items():
            (tmp_path / "text" / f"{name}.txt").write_text(text)
        what = Harvest(context=32, train_contexts=12, held_out_contexts=6)
        store = harvest(default_model, TextSource([str(tmp_path / "text")]), what, tmp_path / "s", progress=False)
        assert store.description["layer"] == 14
        losses = baseline_losses(default_model, store, progress=False)
        assert losses.clean.mean() < losses.mean.mean() < losses.zero.mean()
        found = fidelity(Exact(576), default_model, store, losses, progress=False)
        assert found.recovered_zero == pytest.approx(1, abs=1e-3)
