import itertools
import json
import math

import numpy as np
import pytest
from safetensors.numpy import save_file

from expander_theory import InvalidArgument, InvalidFile, sparse_code
from expander_theory.base.seeds import generator, stream
from expander_theory.masks.subsets import uniform_subsets
from expander_theory.simulation._firing import firing_supports, load_firing_rates, scaled_to
from expander_theory.simulation.problems import CodeLaw, Noise, planted_codes

KEY = "5e" * 32


def floyd(rng, m, count, size):
    """Floyd's algorithm as it is told, with one numpy call a number."""
    subsets = []
    for _ in range(count):
        chosen = set()
        for t in range(m - size, m):
            u = int(rng.integers(0, t + 1))
            chosen.add(t if u in chosen else u)
        subsets.append(sorted(chosen))
    return np.array(subsets)


@pytest.mark.parametrize(
    ("m", "count", "size"),
    [(20, 50, 4), (5, 30, 5), (6, 40, 5), (1, 3, 1), (9, 20, 1), (40, 6, 40), (2**31 - 1, 30, 3), (3 * 2**29, 300, 2)],
)
def test_uniform_subsets_are_floyd_s_and_leave_the_same_stream(m, count, size):
    """Of the last size, one word in four is rejected."""
    fast, slow = stream(KEY, m), stream(KEY, m)
    assert np.array_equal(uniform_subsets(fast, m, count, size), floyd(slow, m, count, size))
    assert np.array_equal(fast.integers(0, 9, 5), slow.integers(0, 9, 5))
    assert fast.random() == slow.random()


def test_uniform_subsets_are_uniform():
    drawn = uniform_subsets(stream(KEY, 1), 6, 30000, 3)
    _, counts = np.unique(drawn @ [100, 10, 1], return_counts=True)
    assert len(counts) == 20
    assert ((counts - 1500) ** 2 / 1500).sum() < 43.8  # chi-square with 19 degrees of freedom, 0.1 %


@pytest.mark.parametrize("law", ["gaussian", "signs", "uniform"])
def test_sparse_code_draws_what_it_always_drew(law):
    rng = generator(7, "sparse code")
    expected = np.zeros(40)
    support = rng.choice(40, 6, replace=False)
    if law == "gaussian":
        expected[support] = rng.standard_normal(6)
    elif law == "signs":
        expected[support] = 2.0 * rng.integers(0, 2, 6) - 1.0
    else:
        expected[support] = 1.0 + rng.random(6)
    assert np.array_equal(sparse_code(40, 6, coefficients=law, seed=7), expected)


@pytest.mark.parametrize(
    ("arguments", "name"),
    [((10, 0, "signs"), "k"), ((10, 11, "signs"), "k"), ((10, 2, "range"), "coefficients"), ((10.5, 2, "signs"), "n")],
)
def test_impossible_sparse_codes_are_refused(arguments, name):
    n, k, law = arguments
    with pytest.raises(InvalidArgument) as caught:
        sparse_code(n, k, coefficients=law, seed=0)
    assert caught.value.name == name


ALL_LAWS = [CodeLaw(), CodeLaw("signs"), CodeLaw("uniform"), CodeLaw("decaying", decay=0.3), CodeLaw("range", range=50)]


@pytest.mark.parametrize("codes", ALL_LAWS, ids=lambda codes: codes.law)
def test_planted_codes_have_k_nonzeros_and_a_seed(codes):
    drawn = planted_codes(codes, 30, 5, 200, seed=3)
    assert drawn.supports.shape == drawn.values.shape == (200, 5)
    assert (np.diff(drawn.supports, axis=1) > 0).all()
    assert drawn.supports.min() >= 0
    assert drawn.supports.max() < 30
    assert (drawn.values != 0).all()
    again, other = planted_codes(codes, 30, 5, 200, seed=3), planted_codes(codes, 30, 5, 200, seed=4)
    assert np.array_equal(drawn.supports, again.supports)
    assert np.array_equal(drawn.values, again.values)
    assert not np.array_equal(drawn.supports, other.supports)
    assert np.array_equal(drawn[2:4].values, drawn.values[2:4])


def test_coefficients_follow_their_laws():
    size = (20000, 4)
    values = {codes.law: planted_codes(codes, 9, 4, size[0], seed=1).values for codes in ALL_LAWS}
    assert abs(values["gaussian"].mean()) < 0.02
    assert abs((values["gaussian"] ** 2).mean() - 1) < 0.03
    assert abs((values["gaussian"] ** 4).mean() - 3) < 0.2
    assert set(np.unique(values["signs"])) == {-1.0, 1.0}
    assert values["uniform"].min() >= 1
    assert values["uniform"].max() < 2
    assert abs(values["uniform"].mean() - 1.5) < 0.01
    moduli = np.sort(np.abs(values["decaying"]), axis=1)
    np.testing.assert_allclose(moduli, np.broadcast_to(np.exp([-0.9, -0.6, -0.3, 0]), size))
    places = np.abs(values["decaying"]).argmax(axis=1)
    assert np.abs(np.bincount(places) / size[0] - 0.25).max() < 0.015  # the largest is anywhere on the support
    logs = np.log(np.abs(values["range"])) / math.log(50)
    assert logs.min() >= 0
    assert logs.max() <= 1
    assert np.abs(np.histogram(logs, 4, (0, 1))[0] / logs.size - 0.25).max() < 0.01
    for law in ("gaussian", "signs", "decaying", "range"):
        assert abs((values[law] > 0).mean() - 0.5) < 0.01


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ({"law": "cauchy"}, "law"),
        ({"law": "decaying"}, "decay"),
        ({"law": "decaying", "decay": -1}, "decay"),
        ({"law": "decaying", "decay": math.nan}, "decay"),
        ({"law": "decaying", "decay": "fast"}, "decay"),
        ({"decay": 0.1}, "decay"),
        ({"law": "range"}, "range"),
        ({"law": "range", "range": 0.5}, "range"),
        ({"law": "range", "range": math.inf}, "range"),
        ({"law": "signs", "range": 2}, "range"),
    ],
)
def test_impossible_laws_are_refused(arguments, name):
    with pytest.raises(InvalidArgument) as caught:
        CodeLaw(**arguments)
    assert caught.value.name == name


def test_coefficients_that_would_vanish_are_refused():
    with pytest.raises(InvalidArgument, match=r"decay = 10\.0.*k = 72"):
        planted_codes(CodeLaw("decaying", decay=10), 100, 72, 1, seed=0)
    assert (planted_codes(CodeLaw("decaying", decay=10), 100, 71, 1, seed=0).values != 0).all()


def conditional_law(rates, k):
    """P(S) over all supports of k, from the independent law by enumeration."""
    n = len(rates)
    weights = {}
    for support in itertools.combinations(range(n), k):
        weights[support] = math.prod(rates[j] if j in support else 1 - rates[j] for j in range(n))
    total = sum(weights.values())
    return {support: weight / total for support, weight in weights.items()}


@pytest.mark.parametrize(
    ("rates", "k"),
    [
        ([0.9, 0.05, 0.3, 0.3, 0.6, 0.01], 2),
        ([0.9, 0.05, 0.3, 0.3, 0.6, 0.01], 5),
        ([1.0, 0.2, 0.0, 0.7, 0.5], 3),
        ([1.0, 0.2, 0.0, 1.0, 0.5], 2),
        ([0.3, 0.2, 0.0, 0.1, 0.5], 4),
        ([1e-9, 1e-6, 2e-6, 1e-3], 2),
        ([0.5], 1),
    ],
)
def test_supports_fire_independently_given_their_number(rates, k):
    law = conditional_law(rates, k)
    drawn = firing_supports(rates, k, 20000, seed=5)
    assert drawn.dtype == np.int32
    assert (np.diff(drawn, axis=1) > 0).all()
    supports, counts = np.unique(drawn, axis=0, return_counts=True)
    found = {tuple(map(int, support)): count / 20000 for support, count in zip(supports, counts, strict=True)}
    for support, probability in law.items():
        spread = math.sqrt(probability * (1 - probability) / 20000)
        assert abs(found.get(support, 0.0) - probability) <= 4.5 * spread + 1e-12


def test_marginals_are_the_rates_where_these_sum_to_k():
    rates = generator(2, "rates").random(400) ** 4
    rates *= 32 / rates.sum()
    assert rates.max() < 1
    drawn = firing_supports(rates, 32, 5000, seed=1)
    marginal = np.bincount(drawn.ravel(), minlength=400) / 5000
    assert np.abs(marginal - rates).max() < 0.03
    assert np.abs(marginal - 32 / 400).max() > 0.2  # they are far from uniform


@pytest.mark.parametrize("k", [1, 3, 40, 197])
def test_scaled_odds_sum_to_k(k):
    rates = generator(4, "rates").random(200) ** 6
    rates[:3] = 0
    probabilities, order = scaled_to(np.array(rates), k)
    assert probabilities.sum() == pytest.approx(k, rel=1e-9)
    assert (np.diff(probabilities) <= 0).all()
    if k < 197:
        inside = order[:190]
        odds, scaled = rates[inside] / (1 - rates[inside]), probabilities[:190] / (1 - probabilities[:190])
        np.testing.assert_allclose(scaled / odds, (scaled / odds)[0], rtol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (([0.5, 1.5], 1, 1), "rates"),
        (([0.5, math.nan], 1, 1), "rates"),
        (([[0.5]], 1, 1), "rates"),
        (([0.5, 0.0, 0.2], 3, 1), "k"),
        (([1.0, 1.0, 0.2], 1, 1), "k"),
        (([0.5, 0.2], 0, 1), "k"),
        (([0.5, 0.2], 1, -1), "batch"),
    ],
)
def test_impossible_firing_is_refused(arguments, name):
    with pytest.raises(InvalidArgument) as caught:
        firing_supports(*arguments, seed=0)
    assert caught.value.name == name


def save_rates(folder, rates):
    np.save(folder / "r.npy", rates)
    save_file({"anything": rates}, folder / "r.safetensors")
    (folder / "r.json").write_text(json.dumps(list(map(float, rates))))
    return [folder / name for name in ("r.npy", "r.safetensors", "r.json")]


def test_firing_rates_are_one_law_whatever_the_file(tmp_path):
    rates = np.array([0.1, 0.9, 0.0, 0.25, 0.5])
    files = save_rates(tmp_path, rates)
    laws = [CodeLaw("signs", firing=str(file)) for file in files]
    for file in files:
        assert np.array_equal(load_firing_rates(file), rates)
    assert laws[0] == laws[1] == laws[2]
    assert laws[0] != CodeLaw("signs")
    drawn = planted_codes(laws[1], 5, 2, 3000, seed=0)
    assert 2 not in drawn.supports
    assert (drawn.supports == 1).any(axis=1).mean() > 0.8
    assert "firing" in laws[0].label


def test_rates_that_changed_are_refused(tmp_path):
    file = save_rates(tmp_path, np.array([0.1, 0.9, 0.3]))[0]
    codes = CodeLaw(firing=str(file))
    np.save(file, np.array([0.1, 0.9, 0.4]))
    with pytest.raises(InvalidFile, match=r"r\.npy: has changed"):
        planted_codes(codes, 3, 2, 1, seed=0)
    with pytest.raises(InvalidArgument, match="must name the file of the rates"):
        planted_codes(CodeLaw(firing_sha256=codes.firing_sha256), 3, 2, 1, seed=0)


def test_rates_must_fit_n_and_k(tmp_path):
    codes = CodeLaw(firing=str(save_rates(tmp_path, np.array([0.1, 0.9, 0.0, 1.0]))[2]))
    for n, k, text in ((5, 2, "each of n = 5 columns"), (4, 4, "at most 3"), (4, 0, "between 1 and n")):
        with pytest.raises(InvalidArgument, match=text):
            planted_codes(codes, n, k, 1, seed=0)


def test_unusable_rates_name_their_file(tmp_path):
    files = {
        "a.npy": "outside", "b.npy": "outside", "c.npy": "of shape", "d.json": "expected float",
        "e.safetensors": "no safetensors", "f.txt": "are read from", "g.npy": "no such file",
        "h.json": "expected float, got str", "i.safetensors": "one was",
    }  # fmt: skip
    np.save(tmp_path / "a.npy", [0.1, np.nan])
    np.save(tmp_path / "b.npy", [0.1, -0.1])
    np.save(tmp_path / "c.npy", [[0.1, 0.1]])
    (tmp_path / "d.json").write_text("[0.1, [0.2, 0.3]]")
    (tmp_path / "e.safetensors").write_bytes(b"none")
    (tmp_path / "f.txt").write_text("0.1")
    (tmp_path / "h.json").write_text('["0.1"]')
    save_file({"a": np.array([0.5]), "b": np.array([0.5])}, tmp_path / "i.safetensors")
    for name, text in files.items():
        with pytest.raises(InvalidFile, match=text) as caught:
            load_firing_rates(tmp_path / name)
        assert name in str(caught.value)


def test_noise_has_its_level():
    signals = generator(0, "signals").standard_normal((400, 50)) * np.logspace(-3, 3, 400)[:, None]
    added = Noise("relative", 0.1).add(signals, seed=1) - signals
    levels = added / (np.linalg.norm(signals, axis=1, keepdims=True) / math.sqrt(50))
    assert abs(levels.std() - 0.1) < 0.002
    assert abs(levels[:40].std() - levels[-40:].std()) < 0.006  # the same share of weak and strong signals
    assert abs(levels.mean()) < 0.002
    absolute = Noise("absolute", 0.1).add(signals, seed=1) - signals
    assert abs(absolute.std() - 0.1) < 0.002
    assert Noise().add(signals, seed=1) is signals
    assert not np.array_equal(absolute, Noise("absolute", 0.1).add(signals, seed=2) - signals)
    assert Noise("relative", 0.1).add(np.zeros((1, 5)), seed=1).tolist() == [[0.0] * 5]


@pytest.mark.parametrize(
    ("arguments", "name"),
    [(("white", 1), "kind"), (("relative", 0), "sigma"), (("absolute", -1), "sigma"), (("none", 0.1), "sigma"),
     (("absolute", math.nan), "sigma"), (("relative", math.inf), "sigma")],
)  # fmt: skip
def test_impossible_noise_is_refused(arguments, name):
    with pytest.raises(InvalidArgument) as caught:
        Noise(*arguments)
    assert caught.value.name == name
