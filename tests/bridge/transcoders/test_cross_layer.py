"""Cross-layer transcoders against their formula, in training, in files, and in the model with all outputs replaced."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from support.pairs import harvest_places

from expander_theory import InvalidArgument, InvalidFile, uniform_mask
from sae_bridge.activations import ActivationStore
from sae_bridge.models.language_models import load_language_model
from sae_bridge.training import TrainingRun
from sae_bridge.transcoders import (
    CrossLayerTranscoder,
    PairedStore,
    TranscoderTraining,
    cross_layer_mask,
    cross_layer_storage,
    layers_store,
    load_transcoder,
    side_by_side,
    train_transcoders,
    transcoder_map,
    transcoder_nulls,
    transcoder_rows,
    transcoder_storage,
)

L, M_IN, M_OUT, N, K = 3, 7, 9, 12, 2
LAYERS = (1, 2)
HOW = TranscoderTraining(d=8, n=48, k=4, layers=2, steps=60, dead_after=2000, learning_rate=1e-2)


def filled(d=3):
    """One in float64, nothing of which is trivial."""
    made = CrossLayerTranscoder(cross_layer_mask(L, M_OUT, N, d, seed=1), L, M_IN, K, seed=2).double()
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name in ("b_enc", "b_dec", "b_in"):
            getattr(made, name).normal_(std=0.4, generator=generator)
        made.normalise_columns()
        made.scale.fill_(0.8)
        made.scale_in.copy_(torch.linspace(0.5, 2, L).repeat_interleave(M_IN))
        made.scale_out.copy_(torch.linspace(3, 0.2, L).repeat_interleave(M_OUT))
    return made.eval()


def batch(count=30):
    return torch.randn(count, L * (M_IN + M_OUT), dtype=torch.float64, generator=torch.Generator().manual_seed(4)) + 0.3


def columns(made):
    """W[l, l'] (n, m_out) of every pair, from the parts as they are documented: (0, 0), (0, 1), .. (1, 1), .."""
    pairs, found = [(a, b) for a in range(L) for b in range(a, L)], {}
    for number, pair in enumerate(pairs):
        own = slice(number * N, (number + 1) * N)
        w = torch.zeros(N, L * M_OUT, dtype=torch.float64)
        w.scatter_(1, made.rows[own].long(), made.weight[own].detach())
        found[pair] = w[:, pair[1] * M_OUT : (pair[1] + 1) * M_OUT]
        assert w.count_nonzero() == found[pair].count_nonzero()  # nothing in other layers
    return found


def by_hand(made, h):
    """Codes (B, L, n) and outputs (B, L, m_out)."""
    w, codes = columns(made), []
    for layer in range(L):
        own = slice(layer * M_IN, (layer + 1) * M_IN)
        x = h[:, own] * made.scale_in[own] - made.b_in[own]
        z = x @ made.encoder[layer * N : (layer + 1) * N].T + made.b_enc[layer * N : (layer + 1) * N]
        best = z.topk(K, dim=1)
        codes.append(torch.zeros_like(z).scatter(1, best.indices, best.values.relu()))
    outputs = []
    for to in range(L):
        own = slice(to * M_OUT, (to + 1) * M_OUT)
        total = sum(codes[layer] @ w[layer, to] for layer in range(to + 1)) + made.b_dec[own]
        outputs.append(total / made.scale / made.scale_out[own])
    return torch.stack(codes, dim=1), torch.stack(outputs, dim=1)


@pytest.mark.parametrize("d", [3, None])
def test_codes_and_outputs_by_hand(d):
    made, h = filled(d), batch()
    with torch.no_grad():
        codes, outputs = by_hand(made, h)
        y, acts, indices = made(h[:, : L * M_IN])
    assert acts.shape == (30, L * K)
    found = torch.zeros(30, L * N, dtype=torch.float64).scatter_add(1, indices, acts)
    torch.testing.assert_close(found, codes.flatten(1))
    torch.testing.assert_close(y, outputs.flatten(1))
    x = made.centred(h)
    missed = made.target(h, x) - made.combine(acts, indices)
    apart = (h[:, L * M_IN :] - y) * made.scale_out * made.scale
    torch.testing.assert_close(missed, apart)


def test_gradients_are_those_of_the_formula():
    made, h = filled(), batch(8)
    torch.autograd.gradcheck(
        lambda weight, encoder, bias: torch.func.functional_call(
            made, {"weight": weight, "encoder": encoder, "b_enc": bias}, (h[:, : L * M_IN],)
        )[0],
        tuple(p.detach().clone().requires_grad_() for p in (made.weight, made.encoder, made.b_enc)),
    )


def test_a_features_pieces_have_unit_norm_together_and_move_along_the_sphere():
    made = filled()
    for layer, part in enumerate(made.decoder_parts):
        assert part.shape == (N, (L - layer) * 3)
        torch.testing.assert_close(part.norm(dim=1), torch.ones(N, dtype=torch.float64))
        whole = torch.cat([columns(made)[layer, to] for to in range(layer, L)], dim=1)
        torch.testing.assert_close(whole.norm(dim=1), torch.ones(N, dtype=torch.float64))
    made.weight.grad = torch.randn(made.weight.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    before = made.weight.grad.clone()
    made.project_gradient()
    pieces = [(made.weight.grad * made.weight).detach(), ((before - made.weight.grad) ** 2).detach()]
    number = 0
    for layer in range(L):
        own = slice(number * N, (number + L - layer) * N)
        assert pieces[0][own].view(L - layer, N, 3).sum(dim=(0, 2)).abs().max() < 1e-12
        number += L - layer
    assert pieces[1].sum() > 0


def test_dead_features_alone_decode_what_they_have():
    made, h = filled(), batch()
    dead = torch.tensor([1, 5, N + 2, 2 * N, 2 * N + 7, 2 * N + 8])
    x = made.centred(h)
    code = torch.zeros(30, L, N, dtype=torch.float64)
    for feature in dead.tolist():
        layer, j = divmod(feature, N)
        z = x[:, layer * M_IN : (layer + 1) * M_IN] @ made.encoder[feature] + made.b_enc[feature]
        code[:, layer, j] = z.relu().detach()
    expected = [sum(code[:, a] @ columns(made)[a, to] for a in range(to + 1)) for to in range(L)]
    torch.testing.assert_close(made.reconstruction_by(dead, x, 9).detach(), torch.cat(expected, dim=1))


def test_a_saved_one_is_the_same_to_the_bit(tmp_path):
    made, h = filled(), batch()
    made.save(tmp_path, {"layer": [1, 2, 3]})
    loaded, fields = load_transcoder(tmp_path)
    assert isinstance(loaded, CrossLayerTranscoder)
    assert fields == {"layer": [1, 2, 3]}
    with torch.no_grad():
        assert all(torch.equal(a, b) for a, b in zip(made(h), loaded(h), strict=True))
    text = (tmp_path / "cfg.json").read_text()
    for change in ('"layers": 2', '"skip": true'):
        name = change.split(":")[0]
        lines = [f"  {change}," if line.strip().startswith(name) else line for line in text.splitlines()]
        (tmp_path / "cfg.json").write_text("\n".join(lines))
        with pytest.raises(InvalidFile, match="altered"):
            load_transcoder(tmp_path)


def test_what_is_stored_grows_with_the_square_of_the_layers():
    made = filled()
    counted = transcoder_storage(made)
    assert counted.decoder_values == made.decoder_values == 6 * N * 3
    assert counted.values == sum(p.numel() for p in made.parameters()) + L * (2 * M_IN + M_OUT)
    assert counted.bytes_float32 == 4 * (counted.values + 6 * N * 3)
    sizes = {"m_in": 576, "m_out": 576, "n": 4608, "k": 32}
    dense, sparse = (cross_layer_storage(30, d=d, **sizes).decoder_values for d in (576, 8))
    assert (dense, sparse) == (465 * 4608 * 576, 465 * 4608 * 8)


@pytest.fixture(scope="module")
def stores(tiny_model_folder, text_folder, tmp_path_factory):
    model = load_language_model(str(tiny_model_folder))
    places = [(layer, hook) for layer in LAYERS for hook in ("mlp_in", "mlp_out")]
    folder = harvest_places(model, text_folder, tmp_path_factory.mktemp("layers"), *places)
    return model, folder, layers_store(folder, LAYERS)


def test_the_store_of_several_layers(stores):
    _, folder, store = stores
    one = [ActivationStore(folder / f"layer{layer}.{hook}") for hook in ("mlp_in", "mlp_out") for layer in LAYERS]
    kept = torch.stack([each.kept("train") for each in one]).all(dim=0)
    expected = torch.cat([each.rows("train")[kept[each.kept("train")]] for each in one], dim=1)
    assert torch.equal(store.rows("train"), expected)
    assert store.place()["layer"] == store.place()["input_layer"] == [1, 2]
    with pytest.raises(InvalidArgument, match="ascend"):
        layers_store(folder, (2, 1))
    with pytest.raises(InvalidFile, match="no store of mlp_in of layer 3"):
        layers_store(folder, (1, 3))
    with pytest.raises(InvalidArgument, match="as many"):
        PairedStore(one[:2], one[2:3])


def test_training_resumes_to_the_bit_and_learns(stores, tmp_path, monkeypatch):
    _, _, store = stores
    run = {"batch": 64, "progress": False, "checkpoint_every": 20}
    whole = train_transcoders({".": HOW}, store, tmp_path / "whole", **run)["."]
    assert isinstance(whole, CrossLayerTranscoder)

    class Stop(Exception):
        pass

    advance = TrainingRun.advance

    def stopping(self, *args):
        if self.step == 45:
            raise Stop
        return advance(self, *args)

    monkeypatch.setattr(TrainingRun, "advance", stopping)
    with pytest.raises(Stop):
        train_transcoders({".": HOW}, store, tmp_path / "parts", **run)
    monkeypatch.setattr(TrainingRun, "advance", advance)
    again = train_transcoders({".": HOW}, store, tmp_path / "parts", **run)["."]
    assert all(torch.equal(a, b) for a, b in zip(whole.state_dict().values(), again.state_dict().values(), strict=True))
    row = transcoder_rows([transcoder_map("it", whole)], store, progress=False)[0]
    assert len(row.fvu_by_layer) == 2
    assert row.fvu == pytest.approx(np.mean(row.fvu_by_layer))
    assert max(row.fvu_by_layer) < 0.9
    assert row.l0 <= 8


def test_all_outputs_replaced_against_the_whole_model_by_hand(stores):
    model, _, store = stores
    mask = cross_layer_mask(2, 32, 48, 8, seed=1)
    made = CrossLayerTranscoder(mask, 2, 32, 4, seed=1).eval()
    with torch.no_grad():
        made.fit_input(store.rows("train"))
    separate = [PairedStore(*pair) for pair in zip(store.inputs, store.outputs, strict=True)]
    nulls = [{null.kind: null for null in transcoder_nulls(one, 4)} for one in separate]
    maps = [transcoder_map("it", made), side_by_side("means", [one["mean"] for one in nulls], store)]
    maps.append(side_by_side("linear", [one["linear"] for one in nulls], store))
    rows = {row.name: row for row in transcoder_rows(maps, store, model, progress=False)}
    ce, kept = [], store.kept("held_out")
    for ids, at in zip(store.tokens("held_out"), kept, strict=True):
        inputs = torch.cat([model.activations(ids[None], layer, "mlp_in")[0] for layer in LAYERS], dim=1)
        with torch.no_grad():
            y = made(inputs)[0].split(32, dim=1)

        def put(number, at=at, y=y):
            return lambda h: torch.where(at[None, :, None], y[number], h)

        # what does not count keeps the output of the clean run
        clean = [model.activations(ids[None], layer, "mlp_out") for layer in LAYERS]
        outputs = [put(number)(clean[number]) for number in range(2)]
        with (
            torch.no_grad(),
            model.intervene(1, "mlp_out", lambda h, o=outputs: o[0]),
            model.intervene(2, "mlp_out", lambda h, o=outputs: o[1]),
        ):
            logits = model.model(ids[None]).logits[0].double().log_softmax(dim=-1)
        ce += [-float(logits[place, ids[place + 1]]) for place in torch.nonzero(at[:-1])[:, 0].tolist()]
    assert rows["it"].fidelity["ce"] == pytest.approx(np.mean(ce), rel=1e-5)
    assert rows["means"].fidelity["ce"] == pytest.approx(
        rows["means"].fidelity["ce_mean"], rel=2e-2
    )  # of other positions
    assert rows["linear"].fvu < rows["means"].fvu
    assert rows["linear"].values == 2 * 33 * 32
    with pytest.raises(InvalidArgument, match="each of the 2 layers"):
        side_by_side("one", maps[:1], store)
    with pytest.raises(InvalidArgument, match="side_by_side"):
        transcoder_nulls(store, 4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"activation": "batch_topk"}, "activation"),
        ({"skip": True}, "skip"),
        ({"d_in": 3}, "d_in"),
        ({"dense_columns": 2}, "dense_columns"),
        ({"selection": "magnitude"}, "selection"),
        ({"layers": 0}, "layers"),
    ],
    ids=str,
)
def test_recipes_that_mean_nothing_are_refused(options, message):
    with pytest.raises(InvalidArgument, match=message):
        replace(HOW, **options)


def test_sizes_that_do_not_fit_are_refused(stores, tmp_path):
    _, _, store = stores
    with pytest.raises(InvalidArgument, match="layers"):
        train_transcoders({".": replace(HOW, layers=3)}, store, tmp_path, progress=False)
    with pytest.raises(InvalidArgument, match="multiple of 6 columns"):
        CrossLayerTranscoder(uniform_mask(27, 40, 3, seed=0), 3, M_IN, K)
    with pytest.raises(InvalidArgument, match="keep to the layers"):
        CrossLayerTranscoder(uniform_mask(27, 72, 3, seed=0), 3, M_IN, K)
    with pytest.raises(InvalidArgument, match="12 features of a layer"):
        CrossLayerTranscoder(cross_layer_mask(L, M_OUT, N, 3, seed=0), L, M_IN, N + 1)
