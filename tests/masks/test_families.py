"""The registry of mask families: complete, true about sizes, and the constructions bit for bit."""

import itertools
import math
import typing

import numpy as np
import pytest
from hypothesis import given, strategies as st

from expander_theory import InvalidArgument, masks
from expander_theory.base import generator
from expander_theory.commands.build import PARAMETERS, Build
from expander_theory.dictionaries import Ensemble
from expander_theory.masks import MASK_FAMILIES, build_mask, mask_family

# Each public construction, and the same mask by the registry.
CONSTRUCTIONS = {
    "uniform_mask": ((20, 50, 4), "uniform", (20, 50, 4), {}),
    "biregular_mask": ((20, 50, 4), "biregular", (20, 50, 4), {}),
    "progressive_edge_growth_mask": ((20, 50, 4), "progressive-edge-growth", (20, 50, 4), {}),
    "overlap_limited_mask": ((20, 50, 4), "overlap-limited", (20, 50, 4), {"max_overlap": 3}),
    "least_overlap_mask": ((20, 50, 4), "overlap-limited", (20, 50, 4), {}),
    "polynomial_mask": ((4, 5), "polynomial", (20, 60, 5), {"r": 3, "n": 60}),
    "euler_square_mask": ((6, 3), "euler-square", (18, 36, 3), {}),
    "partial_euler_square_mask": ((18, 20, 3), "partial-euler-square", (18, 20, 3), {}),
    "affine_plane_mask": ((4,), "affine-plane", (16, 20, 4), {}),
    "projective_plane_mask": ((4,), "projective-plane", (21, 21, 5), {}),
    "generalised_quadrangle_mask": ((2, 4), "generalised-quadrangle", (27, 45, 3), {}),
    "complete_graph_mask": ((5,), "complete-graph", (10, 5, 4), {}),
    "complete_design_mask": ((6, 2), "complete-design", (6, 15, 2), {}),
    "clustered_mask": ((20, 50, 4), "clustered", (20, 50, 4), {}),
    "repeated_mask": ((20, 50, 4), "repeated", (20, 50, 4), {"supports": 3}),
    "contiguous_mask": ((20, 50, 4), "contiguous", (20, 50, 4), {}),
}
NO_CONSTRUCTION = {"load_mask", "save_mask", "build_mask"}
SIZES = st.tuples(st.integers(1, 40), st.integers(1, 60), st.integers(1, 12))


def test_every_public_construction_is_of_a_family():
    public = {name for name in masks.__all__ if name.endswith("_mask")} - NO_CONSTRUCTION
    assert set(CONSTRUCTIONS) == public
    assert {name for _, name, _, _ in CONSTRUCTIONS.values()} == set(MASK_FAMILIES)


@pytest.mark.parametrize("construction", CONSTRUCTIONS)
def test_the_registry_builds_what_the_construction_builds(construction):
    arguments, name, sizes, options = CONSTRUCTIONS[construction]
    family = mask_family(name)
    seeded = {} if family.kind == "design" else {"seed": 7}
    expected = getattr(masks, construction)(*arguments, **options, **seeded)
    found = build_mask(name, *sizes, seed=7, **{key: value for key, value in options.items() if key != "n"})
    assert (found.m, found.n, found.d) == sizes
    assert found == expected
    assert found.recipe == expected.recipe


@pytest.mark.parametrize("name", MASK_FAMILIES)
@given(sizes=SIZES)
def test_what_is_said_to_exist_is_built_and_nothing_else(name, sizes):
    family = mask_family(name)
    if family.exists(*sizes):
        mask = family.build(*sizes, seed=3)
        assert (mask.m, mask.n, mask.d) == sizes
        masks.Mask(mask.m, mask.rows)  # passes the checks that some builders leave out
        assert not mask.rows.flags.writeable
        assert mask == family.build(*sizes, seed=3)
        assert family.reason_against(*sizes) == ""
        Ensemble(name, *sizes)
        return
    with pytest.raises(InvalidArgument) as caught:
        family.build(*sizes, seed=3)
    assert family.reason_against(*sizes) == str(caught.value)
    with pytest.raises(InvalidArgument):
        Ensemble(name, *sizes)


@pytest.mark.parametrize("name", [name for name, family in MASK_FAMILIES.items() if family.kind == "design"])
def test_sizes_that_are_denied_are_not_sizes_of_the_construction(name):
    """All designs of the constructions themselves with few rows: the registry knows each, and no other."""
    orders = {
        "polynomial": lambda: (
            masks.polynomial_mask(q, d, r=min(r, d), n=n)
            for q, d, r, n in itertools.product((2, 3, 4, 5), range(1, 7), (1, 2, 3), (1, 2, 9, 12, 25))
            if d <= q + 1 and n <= q ** min(r, d)
        ),
        "euler-square": lambda: (
            masks.euler_square_mask(q, d)
            for q, d in itertools.product(range(2, 13), range(2, 7))
            if d <= min(p**e for p in (2, 3, 5, 7, 11) for e in range(1, 4) if q % p**e == 0 and q % p ** (e + 1)) + 1
        ),
        "affine-plane": lambda: (masks.affine_plane_mask(q) for q in (2, 3, 4, 5)),
        "projective-plane": lambda: (masks.projective_plane_mask(q) for q in (2, 3, 4, 5)),
        "generalised-quadrangle": lambda: (
            masks.generalised_quadrangle_mask(s, t) for s, t in ((2, 2), (2, 4), (3, 3))
        ),
        "complete-graph": lambda: (masks.complete_graph_mask(v) for v in range(2, 9)),
        "complete-design": lambda: (
            masks.complete_design_mask(m, d) for m in range(1, 17) for d in range(1, m + 1) if math.comb(m, d) <= 60
        ),
    }
    built = {(mask.m, mask.n, mask.d) for mask in orders[name]()}
    family = mask_family(name)
    assert all(family.exists(*sizes) for sizes in built)
    if name != "polynomial":
        box = itertools.product(range(1, 17), range(1, 21), range(1, 6))
        assert {sizes for sizes in box if family.exists(*sizes)} == {
            (m, n, d) for m, n, d in built if m <= 16 and n <= 20 and d <= 5
        }


@pytest.mark.parametrize("name", MASK_FAMILIES)
@given(sizes=SIZES)
def test_sizes_near_a_wish_exist(name, sizes):
    family = mask_family(name)
    near = list(family.near(*sizes))
    assert all(family.exists(*at) for at in near)
    if family.exists(*sizes) and near and family.order is None and name != "complete-graph":
        assert sizes in near
    m, _, d = sizes
    if family.order is not None:
        possible = {q for q in range(2, 60) if family.order(q, d) and q >= d - 1}
        best = min(possible, key=lambda q: abs(q * d - m), default=None)
        if best is not None:
            assert family.rows_near(m, d) == d * best
            at_most = [q * d for q in range(2, 60) if family.order(q, d) and q * d <= m]
            assert family.rows_at_most(m, d) == max(at_most, default=2 * d)
    else:
        assert family.rows_near(m, d) == family.rows_at_most(m, d) == m


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("projective-plane", (2048**2 + 2048 + 1, 2048**2 + 2048 + 1, 2049)),
        ("affine-plane", (2048**2, 2048**2 + 2048, 2048)),
        ("generalised-quadrangle", (15984, 122 * 1332, 12)),
        ("generalised-quadrangle", (34 * 34850, 33 * 32769, 33)),
        ("complete-graph", (20000 * 20001 // 2, 20001, 20000)),
        ("complete-design", (700, math.comb(700, 3), 3)),
        ("euler-square", (8209 * 2, 8209**2, 2)),
    ],
)
def test_designs_that_are_too_large_to_build_do_not_exist(name, sizes):
    assert not mask_family(name).exists(*sizes)


@pytest.mark.parametrize("name", [name for name, family in MASK_FAMILIES.items() if family.kind != "design"])
def test_seeds_decide_and_generators_go_on(name):
    family = mask_family(name)
    sizes = (35, 20, 5)
    assert family.build(*sizes, seed=1) != family.build(*sizes, seed=2)
    one, two = np.random.default_rng(4), np.random.default_rng(4)
    assert family.build(*sizes, seed=one) == family.build(*sizes, seed=two)
    assert one.bit_generator.state == two.bit_generator.state
    assert family.build(*sizes, seed=one) != family.build(*sizes, seed=generator(4, "another"))


def test_parts_of_an_euler_square_are_different_columns_of_it():
    whole = {tuple(rows) for rows in masks.euler_square_mask(6, 3).rows.tolist()}
    part = masks.partial_euler_square_mask(18, 20, 3, seed=5)
    columns = {tuple(rows) for rows in part.rows.tolist()}
    assert len(columns) == 20
    assert columns < whole
    assert part.recipe == "20 columns of euler square(q=6, d=3), seed=5"


def test_disjoint_columns_come_first_where_they_are_possible():
    assert len(np.unique(build_mask("overlap-limited", 12, 3, 4, seed=0).rows)) == 12


def test_unknown_families_and_options():
    with pytest.raises(InvalidArgument, match="family = 'tree': must be one of uniform, biregular"):
        build_mask("tree", 5, 6, 2, seed=0)
    with pytest.raises(InvalidArgument, match="supports = 3: is no option of the family uniform, which takes none"):
        build_mask("uniform", 5, 6, 2, seed=0, supports=3)
    with pytest.raises(InvalidArgument, match="max_overlap = 9: must be between 0 and d = 2"):
        build_mask("overlap-limited", 5, 6, 2, seed=0, max_overlap=9)
    with pytest.raises(InvalidArgument, match="no mask of this left degree"):
        mask_family("partial-euler-square").rows_near(10, 1)


def test_the_build_command_offers_every_family_and_every_parameter():
    hints = typing.get_type_hints(Build)
    assert set(typing.get_args(hints["construction"])) == {*MASK_FAMILIES, "dense"}
    assert set(PARAMETERS) <= set(hints)
