"""The checker's own facts, of losses, overlaps, triangles and inner products, against enumeration."""

import itertools
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, strategies as st
from support import oracles
from support.strategies import masks

from expander_theory import Dictionary
from expander_theory.certificates._check import extend as _check_extend, search as _check_search
from expander_theory.certificates._check.facts import gram_sums, scaled, value_facts
from expander_theory.certificates._check.losses import overlap_bound
from expander_theory.certificates._check.overlaps import has_triangle, overlap_counts, sums_of_largest
from expander_theory.certificates._check.search import find_loss


def brute_loss(rows, size):
    return size * rows.shape[1] - oracles.least_neighbours(rows.tolist(), size)


@given(masks(), st.sampled_from([1, 100, 4_000_000]), st.sampled_from([0, 4, 10**6]), st.booleans())
def test_search_and_overlap_bounds_agree_with_enumeration(mask, cells, most_pairs, informed):
    """Also with work cut in the smallest pieces, and where the graph of close pairs is given up as too large."""
    rows, n = mask.rows, mask.n
    most = [0] + [brute_loss(rows, t) for t in range(1, n + 1)]
    known = most if informed else [10**6] * (n + 1)
    counts, overlap, _ = overlap_counts(mask.m, rows, progress=False)
    nearest = sums_of_largest(counts, n - 1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_check_search, "CELLS", cells)
        patch.setattr(_check_extend, "_MOST_PAIRS", most_pairs)
        for t in range(1, n + 1):
            assert overlap_bound(t, mask.d, overlap, nearest[:, t - 1]) >= most[t]
            assert find_loss(mask.m, rows, t, most[t] + 1, known, progress=False) is None
            if most[t]:
                found = find_loss(mask.m, rows, t, most[t], known, progress=False)
                assert found is not None
                assert found == sorted(set(found))
                assert len(found) <= t
                assert len(found) * mask.d - len(np.unique(rows[found])) >= most[t]


@given(masks(max_m=14, max_n=7))
def test_overlaps_and_triangles_agree_with_enumeration(mask):
    supports = [set(column) for column in mask.rows.tolist()]
    counts, overlap, pair = overlap_counts(mask.m, mask.rows, progress=False)
    shared = {(j, l): len(supports[j] & supports[l]) for j, l in itertools.permutations(range(mask.n), 2)}
    pairs = [p for p in sorted(shared) if p[0] < p[1]]
    assert overlap == max(shared.values(), default=0)
    assert pair == next((list(p) for p in pairs if shared[p] == overlap), None)
    for j in range(mask.n):
        others = sorted((shared[j, l] for l in range(mask.n) if l != j), reverse=True)
        assert sums_of_largest(counts, mask.n - 1)[j].tolist() == [sum(others[:c]) for c in range(mask.n)]
    if overlap <= 1:
        triangle = any(
            len({tuple(supports[a] & supports[b]) for a, b in itertools.combinations(s, 2)} - {()}) == 3
            for s in itertools.combinations(range(mask.n), 3)
        )
        assert has_triangle(mask.m, mask.rows, progress=False) == triangle


@pytest.mark.parametrize(
    ("rows", "triangle"),
    [([[0, 1], [1, 2], [0, 2]], True), ([[0, 1], [0, 2], [0, 3]], False), ([[0, 1], [1, 2], [2, 3], [0, 3]], False)],
)
def test_a_triangle_needs_three_different_rows(rows, triangle):
    assert has_triangle(4, np.array(rows), progress=False) == triangle


MODULI = {"signs": [0.75, -0.75], "signs and zeros": [0.75, -0.75, 0.0], "any": [0.1, -3.0, 1e-3, 0.0, 7e9, -0.5]}


@given(masks(max_m=8, max_n=7), st.sampled_from(sorted(MODULI)), st.data())
def test_values_and_gram_sums_agree_with_fractions(mask, kind, data):
    some = st.lists(st.sampled_from(MODULI[kind]), min_size=mask.d, max_size=mask.d).filter(any)
    values = np.array(data.draw(st.lists(some, min_size=mask.n, max_size=mask.n)))
    dictionary = Dictionary(mask, values.astype(data.draw(st.sampled_from([np.float32, np.float64]))))
    columns = [
        {i: Fraction(float(v)) for i, v in zip(r, c, strict=True)}
        for r, c in zip(mask.rows.tolist(), dictionary.values, strict=True)
    ]
    gram = [[sum(a[i] * b[i] for i in a.keys() & b.keys()) for b in columns] for a in columns]
    n, norms = mask.n, [gram[j][j] for j in range(mask.n)]
    sums = [[sum(sorted((abs(gram[j][l]) for l in range(n) if l != j), reverse=True)[:k]) for j in range(n)]
            for k in range(n)]  # fmt: skip
    end = next((k for k in range(n - 1) if max(sums[k]) >= min(norms)), n - 1)
    w = scaled(dictionary)
    found, first = gram_sums(w, progress=False)
    assert [w.exact(a) for a in found] == [max(line) for line in sums[: end + 1]]
    assert first == [None, *[line.index(max(line)) for line in sums[1 : end + 1]]]
    facts = value_facts(w)
    peaks = [max(map(abs, c.values())) for c in columns]
    curved = [mask.d * p * p / q for p, q in zip(peaks, norms, strict=True)]
    spiky = [mask.d * p / sum(map(abs, c.values())) for p, c in zip(peaks, columns, strict=True)]
    zeros = [list(c.values()).count(0) for c in columns]
    assert facts["norms"] == {"least": str(min(norms)), "least_column": norms.index(min(norms))} | {
        "largest": str(max(norms)), "largest_column": norms.index(max(norms))
    }  # fmt: skip
    assert facts["flatness"] == {"C_squared": str(max(curved)), "C_column": curved.index(max(curved))} | {
        "beta": str(max(spiky)), "beta_column": spiky.index(max(spiky))
    }  # fmt: skip
    assert facts["zeros"] == {"count": sum(zeros), "first_column": next((j for j in range(n) if zeros[j]), None)}
    assert facts["binary"] == (len({v for c in columns for v in c.values()}) == 1 and columns[0][mask.rows[0, 0]] > 0)
