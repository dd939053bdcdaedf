import types

import numpy as np
import pytest
import scipy.optimize
import torch
from support import oracles

from expander_theory import DenseDictionary, InvalidArgument, uniform_mask
from expander_theory.solvers import matching_pursuit
from sae_bridge.codes._support_fit import fit_on_support
from sae_bridge.codes.coder import METHODS, Coder, decoder_of
from sae_bridge.evaluation.inference import amortisation_gap, common_features
from sae_bridge.pursuits.tensor_dictionary import TensorDictionary
from sae_bridge.sae.sae import ExpanderSAE, TopKSAE

M, N, K = 32, 64, 5


def make(kind="expander", k=K, selection="signed", norms=False, double=True):
    sae = (
        ExpanderSAE(uniform_mask(M, N, 6, seed=0), k, seed=1, selection=selection)
        if kind == "expander"
        else TopKSAE(M, N, k, seed=1, selection=selection)
    )
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        sae.scale.fill_(0.7)
        sae.b_dec.normal_(generator=generator)
        sae.b_enc.normal_(0, 0.1, generator=generator)
        sae = sae.double() if double else sae
        sae.normalise_columns()
        if norms:
            sae.weight.mul_(torch.linspace(0.3, 3, N)[:, None])
    return sae.eval()


def tokens(count=40, seed=2, dtype=torch.float64):
    return torch.randn(count, M, dtype=dtype, generator=torch.Generator().manual_seed(seed)) * 2


def matrix(sae):
    """The decoder (m, n) from its parameters."""
    weight = sae.weight.detach().double().numpy()
    return weight.T if sae.rows is None else oracles.dense(M, sae.rows.numpy(), weight)


def centred(sae, h):
    return (h * sae.scale - sae.b_dec).detach().double().numpy()


def full(acts, indices):
    """Codes as (B, n)."""
    return torch.zeros(len(acts), N, dtype=acts.dtype).scatter_add(1, indices, acts.detach()).numpy()


class Imported(torch.nn.Module):
    """Another library's SAE: dense, columns of any norm, an encoder of its own, not a SparseAutoencoder."""

    def __init__(self, sae, columns):
        super().__init__()
        self.inner, self.columns = sae, columns
        self.m, self.k, self.b_dec, self.scale = sae.m, sae.k, sae.b_dec, sae.scale

    def encode(self, h):
        return self.inner.encode(h)

    def decode(self, acts, indices):
        return ((acts[..., None] * self.columns[indices]).sum(-2) + self.b_dec) / self.scale

    def dictionary(self):
        return DenseDictionary(self.columns.detach().numpy())


@pytest.mark.parametrize("kind", ["expander", "dense"])
@pytest.mark.parametrize("norms", [False, True])
def test_omp_is_the_textbook_algorithm_on_the_centred_activations(kind, norms):
    sae = make(kind, norms=norms)
    h, w = tokens(), matrix(sae)
    size = np.linalg.norm(w, axis=0)
    found = full(*Coder(sae)(h, "omp"))
    for code, x in zip(found, centred(sae, h), strict=True):
        chosen, coefficients = oracles.omp(w / size, x, K)
        expected = np.zeros(N)
        expected[chosen] = coefficients / size[chosen]
        np.testing.assert_allclose(code, expected, atol=1e-9)


@pytest.mark.parametrize("kind", ["expander", "dense"])
def test_nonnegative_omp_is_the_textbook_algorithm(kind):
    sae = make(kind)
    h, w = tokens(), matrix(sae)
    acts, indices = Coder(sae)(h, "omp_nonnegative")
    assert (acts >= 0).all()
    for code, x in zip(full(acts, indices), centred(sae, h), strict=True):
        chosen, residual, coefficients = [], x, np.zeros(0)
        for _ in range(K):
            correlation = w.T @ residual
            correlation[chosen] = -1
            chosen.append(int(np.argmax(correlation)))
            coefficients, _ = scipy.optimize.nnls(w[:, chosen], x)
            residual = x - w[:, chosen] @ coefficients
        expected = np.zeros(N)
        expected[chosen] = coefficients
        np.testing.assert_allclose(code, expected, atol=1e-8)


@pytest.mark.parametrize("kind", ["expander", "dense"])
@pytest.mark.parametrize("norms", [False, True])
def test_matching_pursuit_takes_k_steps_of_the_definition(kind, norms):
    sae = make(kind, k=12, norms=norms)
    h, w = tokens(), matrix(sae)
    size = np.linalg.norm(w, axis=0)
    acts, indices = Coder(sae)(h, "mp")
    came_back = False
    for code, x in zip(full(acts, indices), centred(sae, h), strict=True):
        expected, residual = np.zeros(N), x.copy()
        for _ in range(12):
            correlation = (w / size).T @ residual
            j = int(np.argmax(np.abs(correlation)))
            came_back |= expected[j] != 0
            expected[j] += correlation[j] / size[j]
            residual = residual - correlation[j] * w[:, j] / size[j]
        np.testing.assert_allclose(code, expected, atol=1e-9)
    assert came_back
    for row, place in zip(acts, indices, strict=True):
        used = place[row != 0]
        assert len(used) == len(used.unique())
    theirs = matching_pursuit(sae.dictionary(), centred(sae, h), 12, max_iterations=12).to_dense()
    np.testing.assert_allclose(full(acts, indices) * size, theirs, atol=1e-9)


@pytest.mark.parametrize("method", ["gomp", "niht", "cosamp", "omp_signed", "mp", "omp"])
def test_codes_have_at_most_k_features_and_know_of_column_norms(method):
    """Columns of other lengths give the same reconstruction: only coefficients change."""
    h = tokens()
    plain, scaled = make("dense"), make("dense", norms=True)
    results = []
    for sae in (plain, scaled):
        acts, indices = Coder(sae)(h, method)
        assert acts.shape == (40, K)
        assert ((full(acts, indices) != 0).sum(1) <= K).all()
        results.append(sae.decode(acts, indices))
    torch.testing.assert_close(*results)
    signals = centred(plain, h)
    error = np.linalg.norm(signals - full(*Coder(plain)(h, method)) @ matrix(plain).T, axis=1)
    assert (error < np.linalg.norm(signals, axis=1)).all()


def test_codes_do_not_depend_on_the_chunk():
    sae, h = make(), tokens(23)
    for method in METHODS:
        one, other = Coder(sae, chunk=1024)(h, method), Coder(sae, chunk=7)(h, method)
        torch.testing.assert_close(one[0], other[0])
        assert torch.equal(one[1], other[1])


def test_single_precision_agrees_with_double():
    h = tokens()
    for method in ("least_squares", "omp", "omp_nonnegative", "mp"):
        single = Coder(make(double=False))(h.float(), method)[0]
        assert single.dtype == torch.float32
        torch.testing.assert_close(single.double(), Coder(make())(h, method)[0], atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("kind", ["expander", "dense"])
def test_least_squares_on_the_encoders_support(kind):
    sae = make(kind, norms=True)
    h, w = tokens(), matrix(sae)
    own, coder = full(*sae.encode(h)), Coder(sae)
    free, bounded = full(*coder(h, "least_squares")), full(*coder(h, "least_squares_nonnegative"))
    for x, before, c, positive in zip(centred(sae, h), own, free, bounded, strict=True):
        support = np.nonzero(before)[0]
        assert set(np.nonzero(c)[0]) <= set(support)
        np.testing.assert_allclose(c[support], np.linalg.lstsq(w[:, support], x, rcond=None)[0], atol=1e-8)
        np.testing.assert_allclose(positive[support], scipy.optimize.nnls(w[:, support], x)[0], atol=1e-6)


def test_least_squares_of_least_norm_where_columns_are_dependent():
    columns = torch.randn(4, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    columns[2] = 2 * columns[1]
    dictionary = TensorDictionary(6, columns)
    x = torch.randn(1, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    acts, indices = torch.tensor([[1.0, 1, 1, 0]], dtype=torch.float64), torch.tensor([[0, 1, 2, 3]])
    found = fit_on_support(dictionary, x, acts, indices)[0].numpy()
    expected = np.linalg.lstsq(columns[:3].T.numpy(), x[0].numpy(), rcond=1e-8)[0]
    np.testing.assert_allclose(found, [*expected, 0], atol=1e-8)
    bounded = fit_on_support(dictionary, x, acts, indices, nonnegative=True)[0]
    assert (bounded >= 0).all()
    _, least = scipy.optimize.nnls(columns[:3].T.numpy(), x[0].numpy())
    assert float((x[0] - bounded @ columns).norm()) == pytest.approx(least, rel=1e-6)


def test_least_squares_never_loses_to_the_codes_that_it_starts_from():
    """Also on nearly dependent columns in single precision, where large coefficients are rounded."""
    generator = torch.Generator().manual_seed(0)
    columns = torch.randn(12, 8, generator=generator)
    columns[1:6] = columns[0] + 1e-4 * columns[1:6]
    dictionary = TensorDictionary(8, columns)
    x = torch.randn(300, 8, generator=generator)
    indices = torch.rand(300, 12, generator=generator).argsort(1)[:, :6]
    acts = torch.rand(300, 6, generator=generator) * (torch.rand(300, 6, generator=generator) < 0.8)
    acts[0] = 0
    before = (x - (acts[..., None] * columns[indices]).sum(1)).double().norm(dim=1)
    for nonnegative in (False, True):
        fitted = fit_on_support(dictionary, x, acts, indices, nonnegative=nonnegative)
        after = (x.double() - (fitted.double()[..., None] * columns[indices].double()).sum(1)).norm(dim=1)
        assert (after <= before * (1 + 1e-6)).all()
        assert (after < 0.9 * before).float().mean() > 0.5
        assert (fitted[acts == 0] == 0).all()


def test_an_sae_of_another_library():
    inner = make("dense")
    columns = inner.weight.detach() * torch.linspace(0.2, 4, N, dtype=torch.float64)[:, None]
    sae, h = Imported(inner, columns), tokens()
    found = full(*Coder(sae)(h, "omp")) * np.linspace(0.2, 4, N)
    np.testing.assert_allclose(found, full(*Coder(inner)(h, "omp")), atol=1e-9)
    sae.dictionary = lambda: DenseDictionary(columns.numpy()).normalised()
    with pytest.raises(InvalidArgument, match="must decode as"):
        Coder(sae)


def test_what_decode_uses_is_the_decoder():
    sae = make(norms=True)
    np.testing.assert_array_equal(decoder_of(sae).to_dense(), matrix(sae))


def test_common_features_ignore_padding():
    acts = torch.tensor([[1.0, 2, 0], [0, 0, 0]])
    others = torch.tensor([[3.0, 0, -1], [1, 0, 0]])
    indices, other_indices = torch.tensor([[4, 5, 6], [0, 0, 0]]), torch.tensor([[5, 4, 9], [0, 0, 0]])
    assert common_features(acts, indices, others, other_indices).tolist() == [1, 0]


def test_bad_arguments():
    sae, h = make(), tokens(3)
    coder = Coder(sae)
    with pytest.raises(InvalidArgument, match="method = 'lasso'"):
        coder(h, "lasso")
    with pytest.raises(InvalidArgument, match="m = 32"):
        coder(h[:, :31], "omp")
    with pytest.raises(InvalidArgument, match="chunk = 0"):
        Coder(sae, chunk=0)
    dictionary = TensorDictionary.of(sae.dictionary(), h)
    with pytest.raises(InvalidArgument, match="x = "):
        fit_on_support(dictionary, h[:, :31], *sae.encode(h))
    with pytest.raises(InvalidArgument, match="acts = "):
        fit_on_support(dictionary, h[:2], *sae.encode(h))


class MemoryStore:
    """Held-out activations in memory, ten contexts of eight tokens."""

    folder, m, description = "memory", M, types.MappingProxyType({})

    def __init__(self, h):
        self.h = h

    def kept(self, split):
        kept = torch.ones(10, 9, dtype=torch.bool)
        kept[:, 0] = False
        return kept

    def documents(self, split):
        return np.arange(10)

    def count(self, split):
        return len(self.h)

    def batches(self, split, size):
        yield from self.h.split(33)


def planted(sae):
    """Activations h = (W code + b_dec) / s with k nonzeros from 1 to 2."""
    rng = np.random.default_rng(0)
    codes = np.zeros((80, N))
    for code in codes:
        code[rng.choice(N, sae.k, replace=False)] = rng.uniform(1, 2, sae.k)
    x = codes @ matrix(sae).T
    return codes, torch.from_numpy((x + sae.b_dec.detach().numpy()) / float(sae.scale))


def test_the_gap_of_planted_codes():
    """OMP finds them, and where the encoder finds all of a support too, the overlap is whole."""
    sae = make("dense", k=2)
    codes, h = planted(sae)
    rows = {row.method: row for row in amortisation_gap(sae, MemoryStore(h), methods=tuple(METHODS), progress=False)}
    assert list(rows) == list(METHODS)
    exact = (full(*Coder(sae)(h, "omp")) != 0) == (codes != 0)
    assert exact.all(axis=1).mean() > 0.8
    own = full(*sae.encode(h))
    shared = ((own != 0) & (full(*Coder(sae)(h, "omp")) != 0)).sum(1)
    assert rows["omp"].overlap == pytest.approx((shared / 2).mean())
    assert rows["encoder"].overlap == pytest.approx((own != 0).sum(1).mean() / 2)
    assert rows["encoder"].jaccard == 1
    mean_error = ((h - sae(h)[0]) ** 2).sum() / ((h - h.mean(0)) ** 2).sum()
    assert rows["encoder"].fvu == pytest.approx(float(mean_error))
    assert rows["omp"].fvu < 0.1 * rows["encoder"].fvu
    assert rows["least_squares"].fvu <= rows["least_squares_nonnegative"].fvu <= rows["encoder"].fvu
    assert rows["least_squares"].jaccard == pytest.approx(1, abs=1e-12)
    low, high = rows["omp"].fvu_interval
    assert low <= rows["omp"].fvu <= high
    assert {name for name, row in rows.items() if row.comparable} == {
        "encoder",
        "least_squares_nonnegative",
        "omp_nonnegative",
    }
    assert (rows["omp"].tokens, rows["omp"].k, rows["omp"].documents) == (80, 2, 10)


def test_the_gap_says_where_the_encoder_uses_fewer_features():
    sae = make("dense", k=4)
    with torch.no_grad():
        sae.b_enc.fill_(-3)
    h = tokens(80)
    active = (sae.encode(h)[0] > 0).sum(1)
    own, omp = amortisation_gap(sae, MemoryStore(h), methods=["omp"], progress=False)
    assert own.below_k == pytest.approx(float((active < 4).double().mean()))
    assert own.below_k > 0
    assert own.l0 == pytest.approx(float(active.double().mean()))
    assert (omp.l0, omp.below_k) == (4, 0)


def test_free_signs_are_comparable_for_an_encoder_that_has_them():
    rows = amortisation_gap(
        make("dense", selection="magnitude"), MemoryStore(tokens(80)), methods=["omp"], progress=False
    )
    assert [row.comparable for row in rows] == [True, True]
    assert not rows[0].nonnegative


def test_the_gap_in_the_model(tiny_store):
    model, store = tiny_store
    sae = TopKSAE(32, 64, 8, seed=0).eval()
    sae.fit_normalisation(store.rows("train").mean(0), float(store.rows("train").square().sum(1).mean()))
    rows = {row.method: row for row in amortisation_gap(sae, store, model, progress=False)}
    assert rows["omp"].fvu < rows["least_squares"].fvu < rows["encoder"].fvu
    assert rows["omp"].delta < rows["encoder"].delta
    assert rows["omp"].ce_clean == rows["encoder"].ce_clean
    _, *some = amortisation_gap(sae, store, model, methods=["mp", "omp"], in_model=["omp"], progress=False)
    assert [row.delta is not None for row in some] == [False, True]
    assert some[1].delta == rows["omp"].delta
    with pytest.raises(InvalidArgument, match="in_model = 'mp'"):
        amortisation_gap(sae, store, model, methods=["omp"], in_model=["mp"], progress=False)
    with pytest.raises(InvalidArgument, match="width m = 31"):
        amortisation_gap(TopKSAE(31, 40, 3), store, progress=False)
    with pytest.raises(InvalidArgument, match="methods = 'lasso'"):
        amortisation_gap(sae, store, methods=["lasso"], progress=False)
