"""Supports in few bits: against all subsets in order, with numbers of any length; masks drawn again from recipes."""

import math
from itertools import combinations

import numpy as np
import pytest

from expander_theory.masks import MASK_FAMILIES, Mask, build_mask, uniform_mask
from sae_bridge.packing import (
    listed_bytes,
    listed_supports,
    pack_supports,
    redrawn,
    supports as module,
    unpack_supports,
)
from sae_bridge.packing._bits import bytes_of, numbers_of, packed_bits, unpacked_bits, words_of


@pytest.mark.parametrize("bits", [0, 1, 3, 8, 13, 58, 64])
def test_bits_are_those_of_the_numbers_one_after_the_other(bits):
    rng = np.random.default_rng(bits)
    numbers = rng.integers(0, 2**64, 29, dtype=np.uint64) >> np.uint64(64 - bits) if bits else np.zeros(29, np.uint64)
    packed = packed_bits(words_of(numbers), bits)
    assert len(packed) == bytes_of(29, bits)
    expected = sum(int(number) << (at * bits) for at, number in enumerate(numbers))
    assert int.from_bytes(packed.tobytes(), "little") == expected
    assert np.array_equal(numbers_of(unpacked_bits(packed, 29, bits)), numbers)


@pytest.mark.parametrize(("m", "d"), [(7, 3), (6, 1), (5, 5), (9, 8)])
def test_ranks_number_all_subsets(m, d, monkeypatch):
    every = sorted(combinations(range(m), d), key=lambda subset: subset[::-1])  # colexicographic, by its definition
    rows = np.array(every, np.int32)
    for fits in (True, False):  # numbers of 64 bits, and of any length
        monkeypatch.setattr(module, "_fits", lambda *_, fits=fits: fits)
        words = module._ranks(rows, m)
        assert [int.from_bytes(word.tobytes(), "little") for word in words] == list(range(math.comb(m, d)))
        assert np.array_equal(module._subsets(words, m, d), rows)


@pytest.mark.parametrize(
    ("m", "n", "d", "kind", "bits"),
    [
        (576, 40, 8, "ranks", 58),  # log2 C(576, 8) = 57.8; indices would take 80
        (576, 20, 64, "ranks", math.ceil(math.log2(math.comb(576, 64)))),
        (64, 5, 64, "ranks", 0),
        (10, 30, 1, "indices", 4),
        (4096, 6, 70, "indices", 12 * 70),
    ],
)
def test_the_shorter_list_is_taken(m, n, d, kind, bits):
    mask = uniform_mask(m, n, d, seed=1)
    assert listed_supports(m, d) == (kind, bits)
    packed = pack_supports(mask.rows, m)
    assert len(packed) == listed_bytes(m, n, d) == math.ceil(n * bits / 8)
    assert np.array_equal(unpack_supports(packed, m, n, d), mask.rows)


def test_what_no_mask_has_is_refused():
    packed = pack_supports(uniform_mask(20, 9, 4, seed=0).rows, 20)
    with pytest.raises(ValueError, match="bytes of supports"):
        unpack_supports(packed[:-1], 20, 9, 4)
    with pytest.raises(ValueError, match="a rank that no"):
        unpack_supports(np.full_like(packed, 255), 20, 9, 4)
    long = pack_supports(uniform_mask(300, 9, 40, seed=0).rows, 300)
    with pytest.raises(ValueError, match="a rank that no"):
        unpack_supports(np.full_like(long, 255), 300, 9, 40)


SIZES = {
    "polynomial": (64, 60, 8),
    "euler-square": (20, 25, 4),
    "partial-euler-square": (20, 15, 4),
    "affine-plane": (9, 12, 3),
    "projective-plane": (13, 13, 4),
    "generalised-quadrangle": (15, 15, 3),
    "complete-graph": (10, 5, 4),
    "complete-design": (6, 20, 3),
}


@pytest.mark.parametrize("name", MASK_FAMILIES)
def test_every_family_is_drawn_again(name):
    m, n, d = SIZES.get(name, (48, 30, 4))
    mask = build_mask(name, m, n, d, seed=3)
    assert redrawn(mask.recipe, m, n, d) == mask
    assert redrawn(mask.recipe, m, n + 1, d) is None


@pytest.mark.parametrize(
    "recipe",
    [
        *("", "given", "pruned to the 8 largest of each column", "uniform(m=48, n=30, d=4)", "uniform(m=48, n=30)"),
        *("other(m=48, n=30, d=4, seed=0)", "uniform(m=48, n=30, d=4, seed=-1)", "uniform(m=48, n=30, d=4, seed=1) x"),
        *("complete graph(v=99999)", "polynomial(q=6, d=8)", "affine plane()", "biregular(" + "m=48, " * 99 + ")"),
    ],
)
def test_other_recipes_draw_nothing(recipe):
    assert redrawn(recipe, 48, 30, 4) is None


def test_a_recipe_says_nothing_of_the_rows():
    """That is for the hash to say: the same recipe beside other rows."""
    mask = Mask(48, uniform_mask(48, 30, 4, seed=1).rows, uniform_mask(48, 30, 4, seed=0).recipe)
    assert redrawn(mask.recipe, 48, 30, 4) != mask
