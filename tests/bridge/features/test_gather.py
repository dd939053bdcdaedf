"""What features do on text, against plain loops over every token."""

import numpy as np
import pytest
import torch
from support.stores import MemoryStore, fake_sae

from expander_theory import InvalidArgument, uniform_mask
from sae_bridge.features import Look, chosen_features, firing, gather, nearest_by_cosine, nearest_by_firing, pieces
from sae_bridge.features._best import draws
from sae_bridge.sae import coordinate_null
from sae_bridge.sae.sae import ExpanderSAE, TopKSAE

N, CONTEXT = 7, 11


class Contexts(MemoryStore):
    """Also answers for single contexts."""

    def context_rows(self, split, contexts):
        return self._hidden[split][contexts][self._kept[split][contexts]]


def planted(codes, kept=None, split="train"):
    """A store whose activations are codes (contexts, context, width), and an SAE that reads them: width may be 2 n."""
    codes = torch.as_tensor(codes, dtype=torch.float32)
    width, tokens = codes.shape[-1], torch.arange(codes[..., 0].numel()).reshape(codes.shape[:2]) % 13
    kept = torch.ones(tokens.shape, dtype=torch.bool) if kept is None else kept
    other = "held_out" if split == "train" else "train"
    store = Contexts(
        {split: codes, other: codes[:1]}, {split: kept, other: kept[:1]}, tokens={split: tokens, other: tokens[:1]}
    )
    sae = fake_sae(lambda h: (h, (torch.arange(width) % N).expand(len(h), -1)), None, width, N)
    sae.device = torch.device("cpu")
    return sae, store


def random_codes(contexts=9, width=N, share=0.3, signed=True, seed=0):
    """Few different sizes, so that there are ties; feature 5 never fires."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 6, (contexts, CONTEXT, width)) * (rng.choice([-1, 1], (contexts, CONTEXT, width)) ** signed)
    codes = np.where(rng.random(sizes.shape) < share, sizes, 0) / 4
    codes[..., 5 % width :: N] = 0
    return codes, torch.from_numpy(rng.random(sizes.shape[:2]) < 0.8)


def oracle(dense, kept, features, width, contexts=None):
    """Counts, sizes and windows of dense codes (contexts, context, n), by loops."""
    n = dense.shape[2]
    each = -(-dense.shape[1] // width)
    found = {"tokens": 0, "counts": [0] * n, "together": np.zeros((len(features), n), int)}
    found |= {"acts": {j: [] for j in features}, "windows": {j: {} for j in features}}
    for c in range(len(dense) if contexts is None else min(contexts, len(dense))):
        for t in range(dense.shape[1]):
            if not kept[c, t]:
                continue
            found["tokens"] += 1
            active = [j for j in range(n) if dense[c, t, j] != 0]
            for j in active:
                found["counts"][j] += 1
                if j in features:
                    act, window = float(dense[c, t, j]), c * each + t // width
                    found["acts"][j].append(act)
                    found["together"][list(features).index(j), active] += 1
                    best = found["windows"][j].get(window, 0)
                    found["windows"][j][window] = act if abs(act) >= abs(best) else best
    return found


def agrees(seen, dense, store, look):
    """Everything in ``seen`` is what the loops say, samples aside, of which only what must hold is asked."""
    kept, tokens, width = store.kept(look.split).numpy(), store.tokens(look.split).numpy(), look.window
    expected = oracle(dense, kept, seen.features, width, look.contexts)
    assert seen.tokens == expected["tokens"]
    assert seen.counts.tolist() == expected["counts"]
    assert np.array_equal(seen.together, expected["together"])
    each = -(-dense.shape[1] // width)
    for i, j in enumerate(seen.features):
        acts, windows = np.array(expected["acts"][j]), expected["windows"][j]
        assert seen.negative[i] == (acts < 0).sum()
        assert seen.largest[i] == pytest.approx(np.abs(acts).max(initial=0))
        assert seen.mean[i] == pytest.approx(np.abs(acts).mean() if len(acts) else 0)
        assert (seen.low[i], seen.high[i]) == pytest.approx((acts.min(initial=0), acts.max(initial=0)))
        assert seen.histogram[i].sum() == len(acts)
        place = (acts - acts.min(initial=0)) / max(np.ptp(np.append(acts, 0)), 1e-30) * seen.histogram.shape[1]
        clear = np.abs(place - place.round()) > 1e-3  # rounding moves nothing over an edge
        bins = np.bincount(place[clear].astype(int), minlength=seen.histogram.shape[1])
        assert (bins <= seen.histogram[i]).all()
        order = sorted(windows, key=lambda window: (-abs(windows[window]), window))[: look.top]
        assert seen.windows[i, : look.top].tolist() == order + [-1] * (look.top - len(order))
        end = look.top + look.quantiles * look.each
        rest = seen.windows[i, look.top : end]
        assert len(set(rest[rest >= 0])) == (rest >= 0).sum()
        ranked = seen.peaks[i, look.top : end][rest >= 0]
        assert (np.diff(np.abs(ranked)) <= 0).all()
        for e in range(end):
            window = seen.windows[i, e]
            if window < 0:
                assert (seen.ids[i, e] == -1).all()
                assert not seen.acts[i, e].any()
                continue
            assert abs(seen.peaks[i, e]) == pytest.approx(abs(windows[window]))
        for e in np.flatnonzero(seen.windows[i] >= 0):
            c, start = seen.windows[i, e] // each, seen.windows[i, e] % each * width
            length = min(width, dense.shape[1] - start)
            part = slice(start, start + length)
            assert seen.ids[i, e].tolist() == [*tokens[c, part], *[-1] * (width - length)]
            assert seen.kept[i, e].tolist() == [*kept[c, part], *[False] * (width - length)]
            np.testing.assert_allclose(seen.acts[i, e, :length], dense[c, part, j] * kept[c, part], rtol=1e-5)
            assert not seen.acts[i, e, length:].any()


def same(a, b):
    for name in vars(a):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name), err_msg=name)


@pytest.mark.parametrize("width", [1, 4, 11, 40])
@pytest.mark.parametrize("signed", [False, True])
def test_it_sees_what_loops_see(width, signed):
    codes, kept = random_codes(signed=signed)
    sae, store = planted(codes, kept)
    look = Look(window=width, top=4, quantiles=3, each=2, pool=8, random=3)
    seen = gather(sae, store, np.arange(N), look, progress=False)
    assert bool(seen.negative.any()) == signed
    agrees(seen, codes, store, look)


def test_some_features_of_some_contexts_of_held_out_text():
    codes, kept = random_codes(contexts=12, seed=3)
    sae, store = planted(codes, kept, "held_out")
    look = Look(split="held_out", contexts=5, window=4, top=30, random=2)
    seen = gather(sae, store, np.array([1, 5, 6]), look, progress=False)
    agrees(seen, codes, store, look)
    assert seen.windows.max() < 5 * 3
    assert seen.counts[0] > 0  # those that were not chosen are counted too
    assert seen.counts[5] == seen.largest[1] == seen.mean[1] == seen.histogram[1].sum() == 0
    assert (seen.windows[1, :-2] == -1).all()
    assert (seen.windows[1, -2:] >= 0).all()


@pytest.mark.parametrize("tokens", [1, 11, 25, 50])
def test_pieces_of_any_size_find_the_same(monkeypatch, tokens):
    codes, kept = random_codes(contexts=30, share=0.5)
    kept[3:6] = False  # whole contexts that do not count
    sae, store = planted(codes, kept)
    look = Look(window=3, top=5, quantiles=2, each=3, pool=12, random=4, seed=5)
    whole = gather(sae, store, np.arange(N), look, progress=False)
    monkeypatch.setattr(firing, "_TOKENS", tokens)
    assert len(list(pieces(sae, store, "train"))) == -(-30 // max(1, tokens // CONTEXT))
    found = gather(sae, store, np.arange(N), look, progress=False)
    same(found, whole)
    agrees(found, codes, store, look)


def test_a_feature_named_twice_is_summed_and_fires_once():
    codes, kept = random_codes(width=2 * N, share=0.4, seed=7)
    dense = codes[..., :N] + codes[..., N:]
    assert ((codes[..., :N] != 0) & (codes[..., N:] != 0) & (dense == 0)).any()  # some cancel and fire not at all
    sae, store = planted(codes, kept)
    look = Look(window=4, top=6)
    agrees(gather(sae, store, np.arange(N), look, progress=False), dense, store, look)


@pytest.mark.parametrize("kind", ["dense", "expander", "magnitude", "steps", "coordinates", "double"])
def test_real_saes_on_harvested_activations(tiny_store, kind):
    store = tiny_store[1]
    rows = store.rows("train")
    sae = {
        "dense": lambda: TopKSAE(32, 48, 4, seed=1),
        "expander": lambda: ExpanderSAE(uniform_mask(32, 48, 4, seed=1), 4, seed=1),
        "magnitude": lambda: TopKSAE(32, 48, 4, seed=1, selection="magnitude"),
        "steps": lambda: TopKSAE(32, 20, 8, seed=1, encoder="tied", selection="magnitude", pursuit_steps=4),
        "coordinates": lambda: coordinate_null(rows.mean(0), 3),
        "double": lambda: TopKSAE(32, 48, 4, seed=1).double(),
    }[kind]()
    if kind != "coordinates":
        sae.fit_normalisation(rows.mean(0), float(rows.square().sum(1).mean()))
    sae.eval()
    kept = store.kept("train")
    dense = torch.zeros(*kept.shape, sae.n)
    with torch.no_grad():
        acts, indices = sae.encode(rows.to(sae.weight.dtype))
    twice = [len(set(j[a != 0].tolist())) < int((a != 0).sum()) for a, j in zip(acts, indices, strict=True)]
    assert any(twice) == (kind == "steps")
    dense[kept] = torch.zeros(len(rows), sae.n).scatter_add(1, indices, acts.float())
    look = Look(window=6, top=3, quantiles=2, each=2, random=1)
    agrees(gather(sae, store, np.arange(0, sae.n, 5), look, progress=False), dense.numpy(), store, look)


def test_groups_are_parts_of_the_sample_by_size():
    """A feature that fires once in each of 40 windows, with sizes 1 to 40: each quarter shows its own."""
    codes = np.zeros((40, CONTEXT, N))
    codes[np.arange(40), 2, 0] = np.random.default_rng(0).permutation(40) + 1
    sae, store = planted(codes)
    look = Look(window=CONTEXT, top=2, quantiles=4, each=5, pool=40)
    seen = gather(sae, store, np.array([0]), look, progress=False)
    assert seen.peaks[0, :2].tolist() == [40, 39]
    for group in range(4):
        sizes = seen.peaks[0, 2 + 5 * group : 7 + 5 * group]
        assert set(sizes) <= set(range(31 - 10 * group, 41 - 10 * group))
        assert len(set(sizes)) == 5
    few = Look(window=CONTEXT, top=2, quantiles=4, each=2, pool=8, contexts=2)
    seen = gather(sae, store, np.array([0]), few, progress=False)
    assert (seen.windows[0, 2:] >= 0).sum() == 2


def test_samples_are_uniform_and_depend_on_the_seed():
    codes = np.ones((60, CONTEXT, N))
    sae, store = planted(codes)
    found = np.zeros((2, 60))
    for seed in range(40):
        look = Look(window=CONTEXT, top=1, quantiles=1, each=6, pool=6, random=6, seed=seed)
        seen = gather(sae, store, np.arange(N), look, progress=False)
        for part in range(2):
            windows = seen.windows[:, 1 + 6 * part : 7 + 6 * part]
            assert all(len(set(row)) == 6 for row in windows.tolist())
            assert len({tuple(row) for row in windows.tolist()}) > 1
            found[part] += np.bincount(windows.ravel(), minlength=60)
    expected = 40 * N * 6 / 60
    assert (np.square(found - expected).sum(axis=1) / expected < 110).all()  # chi squared of 59 degrees
    keys = draws(np.repeat(np.arange(50), 200), np.tile(np.arange(200), 50), 0)
    assert abs(np.corrcoef(keys.reshape(50, 200))[np.triu_indices(50, 1)]).max() < 0.35
    assert np.abs(np.sort(keys) - np.linspace(0, 1, 10000)).max() < 0.02


def test_random_windows_have_their_peaks():
    """As the docstring of Gathered says of every example."""
    codes, kept = random_codes()
    seen = gather(*planted(codes, kept), np.arange(N), Look(window=4, random=5), progress=False)
    for e in range(seen.windows.shape[1] - 5, seen.windows.shape[1]):
        np.testing.assert_allclose(np.abs(seen.peaks[:, e]), np.abs(seen.acts[:, e]).max(axis=1))


def test_more_random_windows_than_there_are():
    codes, kept = random_codes(contexts=2)
    seen = gather(*planted(codes, kept), np.arange(N), Look(window=CONTEXT, random=4), progress=False)
    assert (np.sort(seen.windows[:, -4:], axis=1) == [-1, -1, 0, 1]).all()


def test_which_features():
    assert chosen_features(5).tolist() == [0, 1, 2, 3, 4]
    assert chosen_features(5, [3, 1]).tolist() == [1, 3]
    assert chosen_features(5, sample=9).tolist() == [0, 1, 2, 3, 4]
    some = chosen_features(1000, sample=20, seed=1)
    assert len(set(some)) == 20
    assert (np.diff(some) > 0).all()
    assert some.tolist() == chosen_features(1000, sample=20, seed=1).tolist()
    assert some.tolist() != chosen_features(1000, sample=20, seed=2).tolist()


@pytest.mark.parametrize(
    ("how", "match"),
    [
        ({"features": [5]}, "between 0 and n - 1 = 4"),
        ({"features": [-1]}, "between 0"),
        ({"features": [1, 1]}, "once"),
        ({"features": [0.5]}, "integer"),
        ({"features": [1], "sample": 2}, "goes without"),
        ({"sample": 0}, "at least 1"),
        ({"sample": 2.5}, "integer"),
    ],
    ids=str,
)
def test_features_that_cannot_be_chosen(how, match):
    with pytest.raises(InvalidArgument, match=match):
        chosen_features(5, **how)


@pytest.mark.parametrize("name", ["window", "top", "pool", "contexts", "seed", "random"])
def test_looks_that_are_none(name):
    with pytest.raises(InvalidArgument):
        Look(**{name: -1})


def test_too_many_pairs_are_refused_before_the_text_is_read():
    sae = fake_sae(None, None, 4, 1 << 16)
    with pytest.raises(InvalidArgument, match=f"at most {1 << 12} of n"):
        gather(sae, None, np.arange((1 << 12) + 1), progress=False)


def test_neighbours_by_their_definitions():
    codes, kept = random_codes()
    seen = gather(*planted(codes, kept), np.array([0, 2, 5]), Look(window=4), progress=False)
    fired = (codes != 0) & kept.numpy()[..., None]
    at, similar = nearest_by_firing(seen.together, seen.counts, seen.features, 3)
    for i, j in enumerate(seen.features):
        union = [(fired[..., j] | fired[..., o]).sum() for o in range(N)]
        every = [-1 if o == j else (fired[..., j] & fired[..., o]).sum() / max(union[o], 1) for o in range(N)]
        np.testing.assert_allclose(similar[i], sorted(every, reverse=True)[:3], rtol=1e-6)
        assert j not in at[i]
    sae = TopKSAE(8, 30, 2, seed=0).eval()
    sae.fit_normalisation(torch.ones(8), 3.0)
    at, cosine = nearest_by_cosine(sae, np.array([4, 29]), 5)
    w = sae.dictionary().to_dense()
    for i, j in enumerate((4, 29)):
        every = np.delete(w.T @ w[:, j], j)
        np.testing.assert_allclose(cosine[i], np.sort(every)[::-1][:5], atol=1e-5)
        np.testing.assert_allclose(w[:, at[i]].T @ w[:, j], cosine[i], atol=1e-5)
