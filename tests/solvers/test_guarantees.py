"""What is proved of single supports and codes: bounds that enclose the exact values, uniqueness that is true."""

import itertools
import pickle
from dataclasses import fields
from fractions import Fraction

import numpy as np
import pytest
from support.cases.exact_cases import another_code, columns_of, exact_erc, rows_suffice, tied_matrices, unit

from expander_theory import (
    DenseDictionary,
    Dictionary,
    InvalidArgument,
    Mask,
    gaussian_dictionary,
    omp,
    polynomial_mask,
    sign_dictionary,
    uniform_mask,
)
from expander_theory.commands.measure import Measure
from expander_theory.commands.recover import Recover
from expander_theory.dictionaries import BlockDictionary, dense_gaussian_dictionary
from expander_theory.solvers import Columns, erc_bounds, largest_overlap, unique_supports
from expander_theory.solvers.guarantees.uniqueness import has_full_mask, unique_sparsity
from expander_theory.solvers.omp.prepared import Prepared

FLAT = sign_dictionary(polynomial_mask(5, 4), seed=0)


def bounds(dictionary, support):
    found = erc_bounds(Columns(dictionary), np.array([support]))
    return float(found.low[0]), float(found.high[0])


def confirm(dictionary, support):
    """The bounds enclose the exact value; its width, or None where nothing is bounded."""
    low, high = bounds(dictionary, support)
    exact = exact_erc(columns_of(dictionary), list(support))
    if exact is None:
        assert (low, high) == (0, np.inf)
        return None
    assert Fraction(low) <= exact, (dictionary, support)
    if high == np.inf:
        return None
    assert exact <= Fraction(high), (dictionary, support)
    return high - low


@pytest.mark.parametrize("seed", range(3))
def test_bounds_enclose_the_exact_coefficient_of_dense_columns(seed):
    rng, narrow = np.random.default_rng(seed), 0
    for i, matrix in enumerate(tied_matrices(seed + 30, 100)):
        columns = matrix if i % 4 == 0 else unit(matrix)  # no column norm is used
        w = DenseDictionary(columns.T.astype(np.float32 if i % 3 == 0 else np.float64))
        k = int(rng.integers(1, min(w.m, w.n) + 1))
        width = confirm(w, sorted(rng.choice(w.n, k, replace=False)))
        narrow += width is not None and width < 1e-9
    assert narrow > 30


def test_bounds_enclose_the_exact_coefficient_of_masked_columns():
    rng, narrow = np.random.default_rng(0), 0
    for i in range(120):
        m, n, d = int(rng.integers(3, 10)), int(rng.integers(2, 9)), int(rng.integers(1, 4))
        mask = Mask(m, np.array([np.sort(rng.choice(m, d, replace=False)) for _ in range(n)], np.int32))
        w = sign_dictionary(mask, seed=i) if i % 2 else gaussian_dictionary(mask, seed=i)
        w = w.astype(np.float32) if i % 3 == 0 else w
        k = int(rng.integers(1, min(m, n) + 1))
        width = confirm(w, rng.choice(n, k, replace=False))  # in any order
        narrow += width is not None and width < 1e-9
    assert narrow > 60


def test_nearly_dependent_columns_get_wide_bounds_or_none():
    rng = np.random.default_rng(1)
    widths = []
    for exponent in np.repeat(np.arange(2, 18), 3):
        w = rng.standard_normal((5, 4))
        w[:, 1] = w[:, 0] + 10.0**-exponent * rng.standard_normal(5)
        widths.append(confirm(DenseDictionary(unit(w).T), [0, 1]))
    known = [width for width in widths if width is not None]
    assert known
    assert None in widths
    assert max(known) > 1e3 * min(known)


def test_scales_of_all_columns_do_not_matter():
    w = dense_gaussian_dictionary(6, 8, seed=0)
    for exponent in (-1000, -300, 300, 1000):
        scaled = DenseDictionary(np.ldexp(w.columns, exponent))
        assert bounds(scaled, [1, 4, 5]) == bounds(w, [1, 4, 5])
    rng = np.random.default_rng(0)
    for _ in range(20):
        confirm(DenseDictionary(rng.standard_normal((5, 4)) * 10.0 ** rng.integers(-150, 150, (5, 1))), [0])
        confirm(DenseDictionary(w.columns * 10.0 ** rng.integers(-30, 30, (8, 1))), [0, 3, 6])


def test_underflow_of_squares_is_bounded():
    """A column of norm 2^-512, most of whose entries have squares of half the least float."""
    small = np.full(10_000, np.sqrt(0.49) * 2.0**-537)
    small[0] = 2.0**-511.99
    other = np.zeros(10_000)
    other[0] = 0.75
    w = DenseDictionary(np.array([small, other]))
    exact = Fraction(small[0]) * Fraction(3, 4) / (Fraction(small[0]) ** 2 + 9999 * Fraction(small[1]) ** 2)
    low, high = bounds(w, [0])
    assert Fraction(low) <= exact
    assert high == np.inf or exact <= Fraction(high)


def test_the_ends_of_k_and_n():
    w = dense_gaussian_dictionary(5, 5, seed=3)
    assert bounds(w, range(5)) == (0, 0)  # no column is left outside
    assert bounds(DenseDictionary(np.ones((1, 1))), [0]) == (0, 0)
    copies = DenseDictionary(w.columns[[0, 1, 2, 3, 3]])
    assert bounds(copies, range(5)) == (0, np.inf)
    assert bounds(copies, [0, 3, 4]) == (0, np.inf)
    assert confirm(copies, [0, 3]) < 1e-9
    assert bounds(copies, [0, 3])[1] >= 1  # a copy outside
    for k in (1, 5):
        assert confirm(dense_gaussian_dictionary(5, 9, seed=4), range(k)) is not None
    orthogonal = sign_dictionary(Mask(6, np.array([[0, 1], [2, 3], [4, 5]])), seed=0)
    low, high = bounds(orthogonal, [0, 1])
    assert low == 0
    assert high < 1e-12


def test_a_coefficient_of_exactly_one_stays_open():
    found = {}
    for support in itertools.combinations(range(12), 2):
        found.setdefault(exact_erc(columns_of(FLAT), support), support)
    for support in itertools.islice(itertools.combinations(range(25), 3), 0, 2300, 23):
        exact = exact_erc(columns_of(FLAT), support)
        low, high = bounds(FLAT, support)
        assert low <= exact <= high
        assert high - low < 1e-11
        assert (high < 1) == (exact < 1)
        found.setdefault(exact, support)
    assert 1 in found


def test_a_batch_is_its_supports_one_by_one():
    w = gaussian_dictionary(uniform_mask(20, 30, 4, seed=0), seed=0)
    rng = np.random.default_rng(0)
    supports = np.array([rng.choice(30, 3, replace=False) for _ in range(40)])
    supports[7] = supports[8]
    found = erc_bounds(Columns(w), supports)
    assert found.low[7] == found.low[8]
    dense = erc_bounds(Columns(DenseDictionary(w.to_dense().T)), supports)
    for b, support in enumerate(supports):
        low, high = bounds(w, support)
        assert abs(found.low[b] - low) + abs(found.high[b] - high) < 1e-11
        assert abs(dense.low[b] - low) + abs(dense.high[b] - high) < 1e-10


def test_one_rank_deficient_support_leaves_the_rest_of_its_batch_alone():
    w = DenseDictionary(np.eye(4)[[0, 1, 2, 3, 3]])
    found = erc_bounds(Columns(w), np.array([[0, 1], [3, 4], [1, 3]]))
    assert found.high[0] < 1
    assert (found.low[1], found.high[1]) == (0, np.inf)
    assert found.low[2] <= 1 <= found.high[2]


# ---- uniqueness


def masks(count, seed):
    rng = np.random.default_rng(seed)
    for _ in range(count):
        m = int(rng.integers(2, 9))
        d, n = int(rng.integers(1, min(m, 4) + 1)), int(rng.integers(1, 8))
        rows = np.array([np.sort(rng.choice(m, d, replace=False)) for _ in range(n)], np.int32)
        yield Mask(m, rows), rng


def test_unique_supports_are_those_of_the_statement():
    proved = 0
    for mask, rng in masks(400, 0):
        k = int(rng.integers(1, min(mask.n, 4) + 1))
        supports = np.array([rng.choice(mask.n, k, replace=False) for _ in range(3)])
        found = unique_supports(mask, supports, largest_overlap(mask))
        assert found.tolist() == [rows_suffice(mask, support.tolist()) for support in supports]
        assert not (unique_supports(mask, supports, mask.d) & ~found).any()  # a larger overlap proves no more
        proved += int(found.sum())
    assert 200 < proved < 1000


def test_unique_sparsity_is_never_more_than_true():
    reached = []
    for mask, rng in masks(150, 1):
        w = Dictionary(mask, rng.choice([-1.0, 1.0], mask.rows.shape))
        most = min(mask.m, mask.n)
        k = unique_sparsity(w, most)
        assert 0 <= k <= most
        for support in itertools.combinations(range(mask.n), k):
            assert another_code(columns_of(w), support) is None
        assert unique_sparsity(DenseDictionary(w.to_dense().T), most) <= k
        reached.append(k)
    assert {0, 1, 2} <= set(reached)
    assert unique_sparsity(DenseDictionary(np.eye(4)), 4) == 4
    assert unique_sparsity(DenseDictionary(np.ones((1, 3))), 1) == 1
    assert unique_sparsity(DenseDictionary(np.ones((3, 1))), 1) == 0


def test_a_full_mask_has_no_zero_entry():
    values = FLAT.values.copy()
    assert has_full_mask(FLAT)
    values[4, 2] = 0
    assert not has_full_mask(Dictionary(FLAT.mask, values))
    assert not has_full_mask(DenseDictionary(np.eye(2)))
    assert largest_overlap(FLAT.mask) == 1
    assert largest_overlap(Mask(3, np.array([[0, 1]]))) == 0


# ---- codes


def planted(w, supports, dtype=np.float64, seed=0):
    rng = np.random.default_rng(seed)
    x = np.zeros((len(supports), w.n))
    for b, support in enumerate(supports):
        x[b, list(support)] = rng.choice([-1, 1], len(support)) * rng.uniform(0.5, 2, len(support))
    return w.matvec(x).astype(dtype)


def plain(recovery):
    return {f.name: getattr(recovery, f.name) for f in fields(recovery) if f.name not in ("proofs", "path")}


KINDS = {
    "flat": FLAT,
    "gaussian": gaussian_dictionary(uniform_mask(12, 10, 3, seed=4), seed=4),
    "not unit": Dictionary(FLAT.mask, FLAT.values * np.linspace(0.1, 3, 25)[:, None]),
    "dense": dense_gaussian_dictionary(9, 10, seed=0),
    "blocks": BlockDictionary(
        dense_gaussian_dictionary(9, 2, seed=0), gaussian_dictionary(uniform_mask(9, 8, 2, seed=0), seed=0)
    ),
}


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("kind", KINDS)
def test_proofs_of_codes_agree_with_oracles(kind, dtype):
    w = KINDS[kind].astype(dtype)
    rng = np.random.default_rng(1)
    supports = [sorted(rng.choice(w.n, k, replace=False)) for k in (1, 2, 2, 3, 3, 4)]
    h = planted(w, supports, dtype)
    found = omp(w, h, 4, certify=True)
    without = omp(w, h, 4)
    assert without.proofs is None
    for name, value in plain(without).items():
        np.testing.assert_array_equal(value, getattr(found, name))
    unit_columns = w if np.abs(w.column_norms - 1).max() < 1e-6 else w.astype(np.float64).normalised()
    columns = columns_of(unit_columns)
    proofs = found.proofs
    for b, chosen in enumerate(found.supports):
        support = chosen[chosen >= 0].tolist()
        erc = exact_erc(columns, support)
        assert proofs.support[b] == (proofs.erc_high[b] < 1)
        if erc is None:
            assert not proofs.support[b]
        else:
            assert Fraction(proofs.erc_low[b]) <= erc
            assert proofs.erc_high[b] == np.inf or erc <= Fraction(proofs.erc_high[b])
        if proofs.support[b]:  # OMP finds it for other coefficients too
            again = omp(w, planted(w, [support], dtype, seed=b + 9), len(support))
            assert again.supports[0].tolist() == support
        if proofs.unique[b]:
            assert another_code(columns, support) is None
    assert proofs.support.any()


def test_what_is_known_of_the_mask_is_used():
    """Sparsity 2 is unique by EXP-10 (d = 4, o = 1), and a support of 3 by IDN-5, where Babel sums give 2 at most."""
    support = next(s for s in itertools.combinations(range(25), 3) if rows_suffice(FLAT.mask, s))
    other = next(s for s in itertools.combinations(range(25), 3) if not rows_suffice(FLAT.mask, s))
    assert unique_sparsity(FLAT, 20) == 2
    found = omp(FLAT, planted(FLAT, [support, other]), 3, certify=True)
    assert found.supports.tolist() == [list(support), list(other)]
    assert found.proofs.unique.tolist() == [True, False]
    dense = omp(DenseDictionary(FLAT.to_dense().T), planted(FLAT, [support, support[:2]]), 3, certify=True)
    assert dense.proofs.unique.tolist() == [False, True]
    zeros = FLAT.values.copy()
    zeros[support[0], 0] = 0
    w = Dictionary(FLAT.mask, zeros).normalised()
    assert not omp(w, planted(w, [support]), 3, certify=True).proofs.unique[0]


def test_a_noisy_code_is_never_unique():
    w = FLAT
    h = planted(w, [[1], [2, 7], [3, 9, 20]])
    noisy = h + 1e-6 * np.random.default_rng(0).standard_normal(h.shape)
    assert omp(w, h, 3, certify=True).proofs.unique[:2].all()
    found = omp(w, noisy, 3, certify=True)
    assert not found.proofs.unique.any()
    assert found.proofs.support.any()


def test_a_signal_of_zeros_and_no_signals():
    proofs = omp(FLAT, np.zeros((2, 20)), 3, certify=True).proofs
    assert proofs.support.all()
    assert proofs.unique.all()
    assert (proofs.erc_low == 0).all()
    assert (proofs.erc_high == 0).all()
    assert omp(FLAT, np.zeros((0, 20)), 3, certify=True).proofs.unique.shape == (0,)


def test_codes_of_different_sparsities_in_one_batch():
    h = planted(FLAT, [[4], [4, 8], [4, 8, 19], [0]])
    h[3] = 0
    found = omp(FLAT, h, [1, 2, 3, 1], certify=True, n_jobs=2)
    assert found.steps.tolist() == [1, 2, 3, 0]
    for b in range(4):
        one = omp(FLAT, h[b], int(max(found.steps[b], 1)), certify=True)
        assert one.proofs.unique[0] == found.proofs.unique[b]
        assert abs(one.proofs.erc_high[0] - found.proofs.erc_high[b]) < 1e-12


def test_copies_of_columns_are_proved_nothing():
    w = DenseDictionary(np.eye(5)[[0, 1, 2, 3, 4, 2]])
    proofs = omp(w, np.eye(5)[[2, 0]], 1, certify=True).proofs
    assert proofs.support.tolist() == [False, True]
    assert not proofs.unique.any()


def test_a_prepared_dictionary_keeps_what_proofs_need():
    prepared = Prepared(FLAT, np.float64)
    h = planted(FLAT, [[1, 5]])
    first = omp(prepared, h, 2, certify=True)
    kept = prepared.guarantees
    assert omp(prepared, h, 2, certify=True).proofs.erc_high == first.proofs.erc_high
    assert prepared.guarantees is kept
    copied = pickle.loads(pickle.dumps(prepared))
    assert omp(copied, h, 2, certify=True).proofs.erc_high == first.proofs.erc_high


@pytest.mark.parametrize("selection", ["signed", "nonnegative"])
def test_other_selections_are_refused(selection):
    with pytest.raises(InvalidArgument, match="certify"):
        omp(FLAT, np.ones((1, 20)), 2, selection=selection, certify=True)


def test_the_commands(tmp_path, capsys):
    FLAT.save(tmp_path / "w")
    np.save(tmp_path / "h.npy", planted(FLAT, [[1], [2, 7]]))
    np.save(tmp_path / "w.npy", FLAT.to_dense())
    Recover(tmp_path / "w", k=(2,), signals=tmp_path / "h.npy", out=tmp_path / "x.npz", certify=True).run()
    assert "OMP must find the support of 2 of 2" in capsys.readouterr().out
    Recover(tmp_path / "w.npy", k=(2,), signals=tmp_path / "h.npy", out=tmp_path / "y.npz").run()
    assert "proved" not in capsys.readouterr().out
    for wrong in ({"solver": "topk", "signals": tmp_path / "h.npy"}, {}):
        with pytest.raises(InvalidArgument, match="certify"):
            Recover(tmp_path / "w", k=(2,), out=tmp_path / "z.npz", certify=True, **wrong).run()
    Measure(tmp_path / "w", max_size=3).run()
    shown = capsys.readouterr().out
    for column in ("lower", "upper", "attack", "spectral", "this mask at most", "any mask at most"):
        assert column in shown
    Measure(tmp_path / "w.npy").run()
    assert "Expansion" not in capsys.readouterr().out
