import json

import numpy as np
import pytest
from hypothesis import given, strategies as st
from safetensors.numpy import load_file, save_file
from support.strategies import masks

from expander_theory import (
    InvalidArgument,
    InvalidFile,
    Mask,
    load_mask,
    overlap_counts,
    polynomial_mask,
    save_mask,
    uniform_mask,
)
from expander_theory.masks.io import KIND
from expander_theory.results.files import write_arrays


@given(st.integers(1, 30), st.integers(1, 40), st.data())
def test_uniform_masks_are_left_regular_sorted_and_seeded(m, n, data):
    d = data.draw(st.integers(1, m))
    mask = uniform_mask(m, n, d, seed=7)
    assert mask.rows.shape == (n, d)
    assert mask.rows.dtype == np.int32
    assert (np.diff(mask.rows, axis=1) > 0).all()
    assert mask.rows.min() >= 0
    assert mask.rows.max() < m
    assert mask == uniform_mask(m, n, d, seed=7)


def test_uniform_masks_are_uniform_over_subsets():
    rows = uniform_mask(5, 60_000, 2, seed=0).rows
    counts = np.bincount(rows[:, 0] * 5 + rows[:, 1], minlength=25)
    observed = counts[counts > 0]
    assert observed.size == 10
    chi_square = ((observed - 6000) ** 2 / 6000).sum()
    assert chi_square < 33.7  # 9 degrees of freedom, p = 1e-4


def test_different_seeds_give_different_masks():
    assert uniform_mask(50, 50, 4, seed=0) != uniform_mask(50, 50, 4, seed=1)


@pytest.mark.parametrize(
    ("q", "d", "r"), [(2, 2, 2), (4, 4, 2), (5, 3, 3), (8, 5, 2), (9, 10, 2), (7, 7, 3), (4, 5, 3)]
)
def test_polynomial_masks_have_the_promised_overlap(q, d, r):
    mask = polynomial_mask(q, d, r=r)
    assert (mask.m, mask.n, mask.d) == (d * q, q**r, d)
    assert (mask.row_degrees == q ** (r - 1)).all()
    counts = overlap_counts(mask)
    assert counts[r:].sum() == 0
    assert counts[r - 1] > 0
    gram = mask.to_scipy().T @ mask.to_scipy()
    assert gram.toarray()[~np.eye(mask.n, dtype=bool)].max() == r - 1


def test_arithmetic_modulo_a_composite_would_break_the_overlap():
    """The mutant of EXP-9: integers modulo 4 instead of GF(4)."""
    a0, a1 = np.divmod(np.arange(16), 4)
    rows = np.stack([(a0 + a1 * p) % 4 + 4 * p for p in range(4)], axis=1)
    assert overlap_counts(Mask(16, rows))[2:].sum() > 0


def test_the_mask_of_the_issue():
    mask = polynomial_mask(256, 8)
    assert (mask.m, mask.n, mask.d) == (2048, 65536, 8)
    assert overlap_counts(mask)[2:].sum() == 0


@given(masks())
def test_conversions_agree(mask):
    matrix = mask.to_scipy().toarray()
    assert matrix.shape == (mask.m, mask.n)
    graph = mask.to_networkx()
    assert graph.number_of_nodes() == mask.m + mask.n
    for j in range(mask.n):
        assert np.nonzero(matrix[:, j])[0].tolist() == mask.rows[j].tolist()
        assert sorted(i for _, i in graph[("column", j)]) == mask.rows[j].tolist()
    start, columns = mask.row_lists
    for i in range(mask.m):
        assert columns[start[i] : start[i + 1]].tolist() == np.nonzero(matrix[i])[0].tolist()
    assert mask.neighbours(range(mask.n)).tolist() == np.nonzero(matrix.any(axis=1))[0].tolist()


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: uniform_mask(4, 10, 5, seed=0), "d"),
        (lambda: uniform_mask(4, 0, 2, seed=0), "n"),
        (lambda: uniform_mask(0, 3, 1, seed=0), "m"),
        (lambda: uniform_mask(4, 3, 2, seed=-1), "seed"),
        (lambda: polynomial_mask(6, 3), "q"),
        (lambda: polynomial_mask(4, 6), "d"),
        (lambda: polynomial_mask(4, 3, n=17), "n"),
        (lambda: polynomial_mask(4, 2, r=3), "r"),
        (lambda: Mask(3, np.array([[0, 0]])), "rows[0]"),
        (lambda: Mask(3, np.array([[0, 1], [2, 1]])), "rows[1]"),
        (lambda: Mask(3, np.array([[0, 3]])), "rows[0]"),
        (lambda: Mask(1, np.array([[0, 1]])), "d"),
        (lambda: Mask(3, np.array([[0.0, 1.0]])), "rows"),
        (lambda: Mask(5, np.array([[3, 1], [4, 0]], np.uint32)), "rows[0]"),
        (lambda: Mask(3.5, np.array([[3]])), "m"),
        (lambda: uniform_mask(8, 9, 2.0, seed=0), "d"),
        (lambda: uniform_mask(8, 9, 2, seed=1.5), "seed"),
        (lambda: polynomial_mask(4.0, 3), "q"),
        (lambda: Mask.from_columns(3, [0, 1]), "columns"),
        (lambda: uniform_mask(8, 9, 2, seed=0).neighbours([1.7]), "columns"),
        (lambda: uniform_mask(8, 9, 2, seed=0).neighbours([9]), "columns"),
    ],
)
def test_bad_arguments_are_named(make, name):
    with pytest.raises(InvalidArgument) as caught:
        make()
    assert caught.value.name == name
    assert str(caught.value).startswith(f"{name} = ")


def test_large_r_keeps_the_overlap_and_the_order_of_columns():
    """q^r beyond 64 bits: the first columns are still the polynomials of low degree."""
    low, high = polynomial_mask(251, 9, r=2, n=300), polynomial_mask(251, 9, r=9, n=300)
    assert low == high
    assert overlap_counts(high)[2:].sum() == 0


def test_the_content_hash_sees_names_shapes_and_dtypes():
    from expander_theory.results.files import content_hash

    zeros = np.zeros((2, 3), np.int32)
    variants = [{"a": zeros}, {"b": zeros}, {"a": zeros.reshape(3, 2)}, {"a": zeros.view(np.float32)}]
    assert len({content_hash({}, arrays) for arrays in variants}) == 4


def test_rows_cannot_be_changed():
    mask = uniform_mask(6, 3, 2, seed=0)
    with pytest.raises(ValueError, match="read-only"):
        mask.rows[0, 0] = 1


class TestFiles:
    @given(mask=masks())
    def test_round_trip(self, mask, tmp_path_factory):
        path = tmp_path_factory.mktemp("mask") / "mask.safetensors"
        save_mask(mask, path)
        loaded = load_mask(path)
        assert loaded == mask
        assert (loaded.sha256, loaded.recipe) == (mask.sha256, mask.recipe)

    @pytest.fixture
    def saved(self, tmp_path):
        path = tmp_path / "mask.safetensors"
        save_mask(uniform_mask(20, 30, 4, seed=0), path)
        return path

    @pytest.mark.parametrize("kept", [0, 5, 60, -1])
    def test_truncated(self, saved, kept):
        saved.write_bytes(saved.read_bytes()[:kept])
        with pytest.raises(InvalidFile, match="truncated"):
            load_mask(saved)

    def test_altered(self, saved):
        from safetensors import safe_open

        rows = load_file(saved)["rows"].copy()
        rows[0] = [0, 1, 2, 3] if rows[0].tolist() != [0, 1, 2, 3] else [0, 1, 2, 4]
        with safe_open(saved, framework="numpy") as file:
            metadata = file.metadata()
        save_file({"rows": rows}, saved, metadata)
        with pytest.raises(InvalidFile, match="SHA-256"):
            load_mask(saved)

    def test_altered_field(self, saved):
        from safetensors import safe_open

        with safe_open(saved, framework="numpy") as file:
            metadata = file.metadata()
        header = json.loads(metadata["expander-theory"])
        header["fields"]["m"] = 21
        metadata["expander-theory"] = json.dumps(header)
        save_file(load_file(saved), saved, metadata)
        with pytest.raises(InvalidFile, match="SHA-256"):
            load_mask(saved)

    def test_newer_format(self, saved):
        write_arrays(saved, KIND, 2, {"m": 4}, {"rows": np.zeros((1, 1), np.int32)})
        with pytest.raises(InvalidFile, match="newer"):
            load_mask(saved)

    def test_equal_masks_give_equal_bytes(self, saved):
        again = saved.parent / "again"
        save_mask(load_mask(saved), again)
        assert again.read_bytes() == saved.read_bytes()

    def test_a_foreign_safetensors_file(self, saved):
        save_file({"rows": np.zeros((1, 1), np.int32)}, saved)
        with pytest.raises(InvalidFile, match="not a file of this project"):
            load_mask(saved)

    def test_other_kind_and_missing(self, saved):
        write_arrays(saved, "something", 1, {}, {"rows": np.zeros((1, 1), np.int32)})
        with pytest.raises(InvalidFile, match="expected 'expander-mask'"):
            load_mask(saved)
        with pytest.raises(InvalidFile, match="no such file"):
            load_mask(saved.parent / "absent")

    def test_a_failed_write_leaves_the_old_file(self, saved, monkeypatch):
        before = saved.read_bytes()

        def full(_):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("os.fsync", full)
        with pytest.raises(OSError, match="No space left on device") as caught:
            save_mask(uniform_mask(5, 5, 2, seed=1), saved)
        assert caught.value.filename == str(saved)
        assert saved.read_bytes() == before
        assert list(saved.parent.iterdir()) == [saved]
