"""Values in few bits: against exhaustive search, torch's bfloat16, and themselves packed once more."""

from itertools import product

import numpy as np
import pytest
import torch

from expander_theory import InvalidArgument
from sae_bridge.packing import VALUES, pack_rows, row_bytes, unpack_rows, values as module
from sae_bridge.packing.values import directions, from_bfloat16, to_bfloat16


def columns(n, d, seed=0, heavy=False):
    rng = np.random.default_rng(seed)
    rows = rng.standard_t(2, (n, d)) if heavy else rng.standard_normal((n, d))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize("most", [1, 3, 7])
@pytest.mark.parametrize("heavy", [False, True])
def test_integers_are_the_nearest_in_direction(most, heavy):
    rows = columns(60, 4, heavy=heavy).astype(float)
    every = np.array([q for q in product(range(-most, most + 1), repeat=4) if any(q)], float)
    best = (rows @ (every / np.linalg.norm(every, axis=1, keepdims=True)).T).max(axis=1)
    found = directions(rows, most).astype(float)
    assert np.abs(found).max() <= most
    own = (rows * found).sum(axis=1) / np.linalg.norm(found, axis=1)
    assert own == pytest.approx(best, abs=1e-12)


def test_more_bits_and_a_fitted_scale_lose_less_than_rounding_to_the_largest():
    rows, errors = columns(300, 8), []
    for values in VALUES:
        read = unpack_rows(pack_rows(rows, values, unit=True), values, rows.shape, unit=True)
        errors.append(float(np.square(rows - read).sum(axis=1).mean()))
    assert errors[0] == 0
    assert all(fewer > more for fewer, more in zip(errors[1:], errors, strict=False))
    scale = np.abs(rows).max(axis=1, keepdims=True) / 7
    plain = np.round(rows / scale) * scale
    assert errors[VALUES.index("int4")] < 0.95 * np.square(rows - plain).sum(axis=1).mean()


def test_bfloat16_is_torchs():
    rng = np.random.default_rng(0)
    numbers = np.concatenate([rng.standard_normal(500) * 10.0 ** rng.integers(-40, 38, 500), [0, -0.0, 1, 1.00390625]])
    expected = torch.from_numpy(numbers.astype(np.float32)).bfloat16()
    assert np.array_equal(to_bfloat16(numbers).view(np.int16), expected.view(torch.int16).numpy())
    assert np.array_equal(from_bfloat16(to_bfloat16(numbers)), expected.float().numpy())


@pytest.mark.parametrize("values", VALUES)
@pytest.mark.parametrize(("n", "d"), [(3000, 3), (700, 8), (20, 90), (9, 1)])
@pytest.mark.parametrize("unit", [True, False])
def test_packing_what_was_read_changes_no_byte(values, n, d, unit):
    rows = columns(n, d, seed=n) * (1 if unit else np.linspace(0, 9, n, dtype=np.float32)[:, None])
    packed = pack_rows(rows, values, unit=unit)
    assert sum(part.nbytes for part in packed.values()) == row_bytes(values, (n, d), unit=unit)
    read = unpack_rows(packed, values, (n, d), unit=unit)
    assert read.dtype == np.float32
    again = pack_rows(read, values, unit=unit)
    assert {name: part.tobytes() for name, part in again.items()} == {n: p.tobytes() for n, p in packed.items()}
    if unit:
        assert np.linalg.norm(read, axis=1) == pytest.approx(np.ones(n), abs=1e-6)
    elif values != "float32":
        alone = pack_rows(rows[1:2], values, unit=False)[""]  # a row's code depends on no other row
        assert np.array_equal(
            unpack_rows({**pack_rows(rows[1:2], values, unit=False)}, values, (1, d), unit=False), read[1:2]
        )
        assert alone.dtype == packed[""].dtype


def test_rows_that_never_settle_are_read_and_packed_alike():
    """Rounding that swaps two codes for ever: the least of the cycle is taken, from either."""

    def encode(rows):
        return np.where(rows < 0, rows, (rows + 1) % 3 + (rows > 2)).astype(np.int8)

    def decode(codes):
        return codes.astype(float)

    for start in (0.0, 1.0, 2.0, 3.0, -5.0):
        settled = module._settled(encode, decode, np.array([[start]]))
        assert settled[0, 0] == (-5 if start < 0 else 0)
        assert np.array_equal(module._settled(encode, decode, decode(settled)), settled)


def test_norms_of_an_encoder_are_kept_and_zero_rows_stay_zero():
    rows = columns(40, 8) * np.linspace(0, 50, 40)[:, None]
    read = unpack_rows(pack_rows(rows, "int8", unit=False), "int8", rows.shape, unit=False)
    assert not read[0].any()
    assert np.linalg.norm(read, axis=1) == pytest.approx(np.linalg.norm(rows, axis=1), rel=0.005)


def test_damage_is_named():
    rows = columns(12, 5)
    with pytest.raises(InvalidArgument, match="one of float32, bfloat16"):
        pack_rows(rows, "int5", unit=True)
    packed = pack_rows(rows, "int4", unit=True)
    with pytest.raises(ValueError, match=r"values of uint8 and shape \(29,\)"):
        unpack_rows({"": packed[""][:-1]}, "int4", (12, 5), unit=True)
    with pytest.raises(ValueError, match=r"beyond -7\.\.7"):
        unpack_rows({"": np.full_like(packed[""], 0x88)}, "int4", (12, 5), unit=True)
    for values in ("bfloat16", "int8", "int4"):
        stored = pack_rows(rows, values, unit=True)[""]
        with pytest.raises(ValueError, match="no unit vector"):
            unpack_rows({"": np.zeros_like(stored)}, values, (12, 5), unit=True)
    with pytest.raises(ValueError, match="norms"):
        unpack_rows({**packed, "norms": np.zeros(3, np.uint16)}, "int4", (12, 5), unit=False)
