"""Random and explicit mask constructions: regularity, seeds, and what each promises (THEORY.md EXP-9, EXP-10)."""

import itertools
import math

import networkx
import numpy as np
import pytest
import scipy.stats
from hypothesis import given, reject, strategies as st
from support.oracles import least_neighbours

from expander_theory import (
    InvalidArgument,
    affine_plane_mask,
    biregular_mask,
    complete_design_mask,
    complete_graph_mask,
    disjoint_union,
    euler_square_mask,
    generalised_quadrangle_mask,
    overlap_counts,
    overlap_limited_mask,
    polynomial_mask,
    progressive_edge_growth_mask,
    projective_plane_mask,
    uniform_mask,
)
from expander_theory._kernels.sampling import growth


def overlaps(mask):
    """|N(j) cap N(l)| of all pairs of columns, by sets."""
    columns = [set(rows) for rows in mask.rows.tolist()]
    return [len(a & b) for a, b in itertools.combinations(columns, 2)]


def four_cycles(mask):
    return sum(math.comb(o, 2) for o in overlaps(mask))


def smallest_stopping_set(mask, largest):
    """The least number, at most ``largest``, of columns without a unique neighbour; None if there are none."""
    through = [np.nonzero((mask.rows == row).any(axis=1))[0].tolist() for row in range(mask.m)]

    def extends(columns, size):
        count = np.bincount(mask.rows[columns].ravel(), minlength=mask.m)
        single = np.nonzero(count == 1)[0]
        if single.size == 0:
            return True
        if len(columns) == size:
            return False
        return any(extends([*columns, l], size) for l in through[single[0]] if l not in columns)

    for size in range(1, largest + 1):
        if any(extends([j], size) for j in range(mask.n)):
            return size
    return None


SIZES = st.integers(1, 12).flatmap(lambda m: st.tuples(st.just(m), st.integers(1, 25), st.integers(1, m)))


@pytest.mark.parametrize("make", [biregular_mask, progressive_edge_growth_mask])
@given(sizes=SIZES, seed=st.integers(0, 3))
def test_grown_and_dealt_masks_are_left_regular_and_seeded(make, sizes, seed):
    m, n, d = sizes
    mask = make(m, n, d, seed=seed)
    assert (mask.m, mask.n, mask.d) == sizes  # Mask itself refuses repeated rows
    assert mask == make(m, n, d, seed=seed)


@pytest.mark.parametrize("make", [biregular_mask, progressive_edge_growth_mask])
def test_seeds_matter_and_recipes_tell_them(make):
    assert make(50, 50, 4, seed=0) != make(50, 50, 4, seed=1)
    assert "m=50, n=50, d=4, seed=1" in make(50, 50, 4, seed=1).recipe
    make(50, 50, 4, seed=np.random.default_rng(0))


def test_uniform_masks_of_a_seed_stay_as_they_were():
    assert uniform_mask(50, 3, 4, seed=0).rows.tolist() == [[2, 36, 44, 46], [13, 21, 23, 31], [6, 8, 34, 40]]


class TestBiregular:
    @given(SIZES, st.integers(0, 3))
    def test_row_degrees_differ_by_at_most_one(self, sizes, seed):
        m, n, d = sizes
        degrees = biregular_mask(m, n, d, seed=seed).row_degrees
        assert set(degrees.tolist()) <= {n * d // m, -(-n * d // m)}

    @pytest.mark.parametrize(
        ("m", "n", "d"), [(64, 500, 64), (64, 500, 63), (64, 500, 33), (64, 501, 32), (100, 1, 7), (100, 3, 30)]
    )
    def test_tight_cases(self, m, n, d):
        degrees = biregular_mask(m, n, d, seed=0).row_degrees
        assert degrees.max() - degrees.min() <= 1

    @pytest.mark.parametrize("d", [1, 2])
    def test_all_rows_and_all_pairs_are_equally_likely(self, d):
        """d = 2 is the complement of d = 1 here: each row is left out, or taken, equally often."""
        draws = [biregular_mask(3, 4, d, seed=seed).rows for seed in range(900)]
        first = np.bincount(np.concatenate([rows[0] for rows in draws]), minlength=3)
        assert (abs(first - 300 * d) < 80).all()

    def test_repeats_are_swapped_with_columns_anywhere(self):
        """The overlaps are those of a random mask: no trace of how the rows were dealt."""
        mask = biregular_mask(60, 400, 12, seed=0)
        shares = overlap_counts(mask) / math.comb(400, 2)
        assert abs(shares - scipy.stats.hypergeom.pmf(range(13), 60, 12, 12)).max() < 0.012
        neighbours = [len(set(a) & set(b)) for a, b in itertools.pairwise(mask.rows.tolist())]
        assert abs(np.mean(neighbours) - 12 * 12 / 60) < 0.3


class TestProgressiveEdgeGrowth:
    @given(st.integers(2, 9).flatmap(lambda m: st.tuples(st.just(m), st.integers(1, 9), st.integers(1, min(m, 4)))))
    def test_every_edge_goes_where_the_rule_says(self, sizes):
        m, n, d = sizes
        rows = np.empty((n, d), np.int32)
        growth.progressive_edge_growth(np.random.default_rng(m * n + d), m, rows)
        graph = networkx.Graph()
        graph.add_nodes_from(range(m))
        for j in range(n):
            column = ("column", j)
            graph.add_node(column)
            for i in range(d):
                assert rows[j, i] in self.allowed(graph, column, m)
                graph.add_edge(column, int(rows[j, i]))

    @staticmethod
    def allowed(graph, column, m):
        own = set(graph[column])
        distance = networkx.single_source_shortest_path_length(graph, column)
        depth = {row: distance.get(row, math.inf) for row in range(m) if row not in own}
        best = [row for row in depth if depth[row] == max(depth.values())]
        if max(depth.values()) == 3:  # each of these rows closes a 4-cycle
            closed = {row: sum(len(own & set(graph[l])) for l in graph[row]) for row in best}
            best = [row for row in best if closed[row] == min(closed.values())]
        return {row for row in best if graph.degree[row] == min(graph.degree[r] for r in best)}

    @pytest.mark.parametrize(("m", "n", "d"), [(40, 60, 3), (30, 100, 5), (24, 60, 12), (16, 40, 15)])
    def test_closes_no_more_four_cycles_than_uniform(self, m, n, d):
        for seed in range(3):
            grown = four_cycles(progressive_edge_growth_mask(m, n, d, seed=seed))
            assert grown <= four_cycles(uniform_mask(m, n, d, seed=seed))

    def test_girth_beyond_six_where_there_is_room(self):
        mask = progressive_edge_growth_mask(60, 30, 3, seed=0)
        assert networkx.girth(mask.to_networkx()) >= 8
        assert not networkx.cycles.cycle_basis(progressive_edge_growth_mask(40, 13, 3, seed=0).to_networkx())

    def test_row_degrees_are_nearly_balanced(self):
        degrees = progressive_edge_growth_mask(64, 512, 16, seed=0).row_degrees
        assert degrees.max() - degrees.min() < np.ptp(uniform_mask(64, 512, 16, seed=0).row_degrees) / 3


class TestOverlapLimited:
    @given(SIZES, st.data())
    def test_the_limit_holds(self, sizes, data):
        m, n, d = sizes
        o = data.draw(st.integers(0, d))
        if n * math.comb(d, o + 1) > math.comb(m, o + 1):
            with pytest.raises(InvalidArgument, match="packing bound"):
                overlap_limited_mask(m, n, d, max_overlap=o, seed=1)
            return
        try:
            mask = overlap_limited_mask(m, n, d, max_overlap=o, seed=1)
        except InvalidArgument:  # see the tests of where it must succeed
            reject()
        assert (mask.m, mask.n, mask.d) == sizes
        assert max(overlaps(mask), default=0) <= o
        assert mask == overlap_limited_mask(m, n, d, max_overlap=o, seed=1)

    @pytest.mark.parametrize(("m", "n", "d", "o"), [(512, 4096, 7, 2), (512, 4096, 7, 1), (128, 256, 16, 5)])
    def test_large_masks(self, m, n, d, o):
        counts = overlap_counts(overlap_limited_mask(m, n, d, max_overlap=o, seed=0))
        assert counts[o + 1 :].sum() == 0
        assert overlap_counts(uniform_mask(m, n, d, seed=0))[o + 1 :].sum() > 0

    @pytest.mark.parametrize(("m", "n", "d", "o"), [(12, 4, 3, 0), (4, 6, 2, 1), (6, 20, 3, 2), (5, 5, 4, 3)])
    def test_where_it_just_fits(self, m, n, d, o):
        """Disjoint columns, and complete designs."""
        mask = overlap_limited_mask(m, n, d, max_overlap=o, seed=0)
        assert n * math.comb(d, o + 1) == math.comb(m, o + 1)
        assert max(overlaps(mask)) == o
        assert len({tuple(rows) for rows in mask.rows.tolist()}) == n

    def test_restarts_find_what_one_pass_misses(self):
        """Nine triples on nine points in pairs that share at most one: a single greedy pass often fails."""

        def successes(attempts):
            done = [
                growth.limited_overlap(np.random.default_rng(s), 9, 1, attempts, np.empty((9, 3), np.int32))
                for s in range(30)
            ]
            return done.count(9)

        assert successes(1) < successes(99)

    def test_rows_of_a_column_are_uniform(self):
        first = np.concatenate([overlap_limited_mask(6, 2, 2, max_overlap=1, seed=s).rows[1] for s in range(600)])
        assert (abs(np.bincount(first, minlength=6) - 200) < 70).all()

    def test_impossible_by_the_packing_bound(self):
        with pytest.raises(InvalidArgument, match=r"packing bound n C\(d, 2\) <= C\(m, 2\)") as caught:
            overlap_limited_mask(7, 8, 3, max_overlap=1, seed=0)  # seven is the Fano plane
        assert caught.value.name == "max_overlap"

    def test_greedy_search_that_fails_says_where(self):
        """43 lines on 43 points would be a plane of order 6: within the bound, but there is none."""
        with pytest.raises(InvalidArgument, match=r"column \d+ of 43 in 1000 attempts: choose a larger") as caught:
            overlap_limited_mask(43, 43, 7, max_overlap=1, seed=0)
        assert caught.value.name == "max_overlap"


class TestPlanes:
    @pytest.mark.parametrize("q", [2, 3, 4, 5, 8, 9])
    def test_projective_planes(self, q):
        mask = projective_plane_mask(q)
        assert (mask.m, mask.n, mask.d) == (q * q + q + 1, q * q + q + 1, q + 1)
        assert set(overlaps(mask)) == {1}
        matrix = mask.to_scipy(np.int64).toarray()
        assert (matrix @ matrix.T == 1 + q * np.eye(mask.m)).all()  # two points, one line

    @pytest.mark.parametrize("q", [2, 3, 4, 5, 8, 9])
    def test_affine_planes(self, q):
        mask = affine_plane_mask(q)
        assert (mask.m, mask.n, mask.d) == (q * q, q * q + q, q)
        matrix = mask.to_scipy(np.int64).toarray()
        assert (matrix @ matrix.T == 1 + q * np.eye(mask.m)).all()
        for j in range(mask.n):  # Playfair: through each point off a line one parallel
            disjoint = matrix[:, matrix[:, j] @ matrix == 0].sum(axis=1)
            assert (disjoint == 1 - matrix[:, j]).all()

    @pytest.mark.parametrize(("q", "size"), [(2, 4), (4, 6)])
    def test_dual_hyperovals_are_the_smallest_stopping_sets(self, q, size):
        assert smallest_stopping_set(projective_plane_mask(q), size) == size

    def test_odd_order_has_no_hyperoval(self):
        assert smallest_stopping_set(projective_plane_mask(3), 5) is None
        assert smallest_stopping_set(affine_plane_mask(3), 3) is None


class TestGeneralisedQuadrangles:
    @pytest.mark.parametrize(("s", "t"), [(2, 4), (2, 2), (3, 3), (3, 9), (4, 4)])
    def test_axioms(self, s, t):
        mask = generalised_quadrangle_mask(s, t)
        assert (mask.m, mask.n, mask.d) == ((s + 1) * (s * t + 1), (t + 1) * (s * t + 1), s + 1)
        assert (mask.row_degrees == t + 1).all()
        matrix = mask.to_scipy(np.int64).toarray()
        joins = (matrix @ matrix.T) @ matrix  # lines from point p to the points of line j
        off = matrix == 0
        assert (matrix.T @ matrix - (s + 1) * np.eye(mask.n)).max() == 1
        assert (joins[off] == 1).all()

    def test_girth_and_stopping_distance(self):
        mask = generalised_quadrangle_mask()
        assert (mask.m, mask.n, mask.d) == (27, 45, 3)
        assert networkx.girth(mask.to_networkx()) == 8
        assert smallest_stopping_set(mask, 6) == 6
        assert smallest_stopping_set(generalised_quadrangle_mask(2, 2), 6) == 6


class TestDesigns:
    @pytest.mark.parametrize("v", [2, 3, 6])
    def test_complete_graphs(self, v):
        mask = complete_graph_mask(v)
        assert (mask.m, mask.n, mask.d) == (math.comb(v, 2), v, v - 1)
        ends = [np.nonzero((mask.rows == edge).any(axis=1))[0].tolist() for edge in range(mask.m)]
        assert sorted(ends) == [list(pair) for pair in itertools.combinations(range(v), 2)]
        for size in range(1, v + 1):
            assert least_neighbours(mask.rows.tolist(), size) == size * (v - 1) - math.comb(size, 2)
        assert smallest_stopping_set(mask, v) == v

    @pytest.mark.parametrize(("q", "d"), [(6, 3), (10, 3), (12, 4), (15, 4), (2, 2), (35, 6)])
    def test_euler_squares(self, q, d):
        mask = euler_square_mask(q, d)
        assert (mask.m, mask.n, mask.d) == (d * q, q * q, d)
        assert (mask.row_degrees == q).all()
        assert overlap_counts(mask)[2:].sum() == 0
        assert (mask.rows // q == np.arange(d)).all()

    @pytest.mark.parametrize("q", [4, 5])
    def test_euler_squares_of_prime_powers_are_polynomial_masks(self, q):
        assert euler_square_mask(q, q + 1) == polynomial_mask(q, q + 1)

    @given(st.integers(1, 7).flatmap(lambda m: st.tuples(st.just(m), st.integers(1, m))))
    def test_complete_designs(self, sizes):
        m, d = sizes
        mask = complete_design_mask(m, d)
        assert mask.rows.tolist() == [list(rows) for rows in itertools.combinations(range(m), d)]

    def test_complete_designs_expand_as_little_as_their_rows_allow(self):
        rows = complete_design_mask(5, 2).rows.tolist()
        for size in range(1, 11):
            assert least_neighbours(rows, size) == next(u for u in range(6) if math.comb(u, 2) >= size)

    def test_disjoint_unions(self):
        parts = projective_plane_mask(2), complete_design_mask(4, 3), uniform_mask(5, 2, 3, seed=0)
        union = disjoint_union(*parts)
        assert (union.m, union.n, union.d) == (7 + 4 + 5, 7 + 4 + 2, 3)
        matrix = union.to_scipy().toarray()
        assert (matrix[:7, :7] == parts[0].to_scipy().toarray()).all()
        assert (matrix[7:11, 7:11] == parts[1].to_scipy().toarray()).all()
        assert (matrix[11:, 11:] == parts[2].to_scipy().toarray()).all()
        assert matrix.sum() == 3 * union.n
        assert disjoint_union(parts[0]) == parts[0]


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: biregular_mask(4, 10, 5, seed=0), "d"),
        (lambda: biregular_mask(4, 10, 0, seed=0), "d"),
        (lambda: biregular_mask(4, 10, 2, seed=-1), "seed"),
        (lambda: biregular_mask(4, 10.5, 2, seed=0), "n"),
        (lambda: progressive_edge_growth_mask(0, 10, 1, seed=0), "m"),
        (lambda: progressive_edge_growth_mask(4, 0, 2, seed=0), "n"),
        (lambda: overlap_limited_mask(9, 3, 2, max_overlap=3, seed=0), "max_overlap"),
        (lambda: overlap_limited_mask(9, 3, 2, max_overlap=-1, seed=0), "max_overlap"),
        (lambda: overlap_limited_mask(9, 3, 2, max_overlap=1.0, seed=0), "max_overlap"),
        (lambda: overlap_limited_mask(2, 3, 3, max_overlap=1, seed=0), "d"),
        (lambda: projective_plane_mask(6), "q"),
        (lambda: projective_plane_mask(2048), "q"),
        (lambda: affine_plane_mask(1), "q"),
        (lambda: affine_plane_mask(3.0), "q"),
        (lambda: generalised_quadrangle_mask(6, 6), "s"),
        (lambda: generalised_quadrangle_mask(2, 3), "t"),
        (lambda: generalised_quadrangle_mask(11, 121), "s"),
        (lambda: complete_graph_mask(1), "v"),
        (lambda: euler_square_mask(1, 1), "q"),
        (lambda: euler_square_mask(6, 4), "d"),
        (lambda: euler_square_mask(5, 1), "d"),
        (lambda: complete_design_mask(4, 5), "d"),
        (lambda: complete_design_mask(60, 30), "m"),
        (lambda: disjoint_union(), "masks"),
        (lambda: disjoint_union(complete_graph_mask(3), complete_graph_mask(4)), "d"),
    ],
)
def test_bad_arguments_are_named(make, name):
    with pytest.raises(InvalidArgument) as caught:
        make()
    assert caught.value.name == name
