"""Ensembles: which dictionaries each family draws, those of a file, and what is refused."""

import math
from dataclasses import replace

import numpy as np
import pytest
from support.cases.trial_cases import DENSE, UNIFORM

from expander_theory import (
    DenseDictionary,
    Dictionary,
    InvalidArgument,
    InvalidFile,
    flat_dictionary,
    masks,
    sign_dictionary,
    uniform_mask,
)
from expander_theory.base.seeds import generator, stream
from expander_theory.results.files import write_arrays
from expander_theory.simulation.trials import (
    Ensemble,
    Task,
    run_block,
)

SHAPES = [
    ("uniform", 20, 50, 4), ("biregular", 20, 50, 4), ("progressive-edge-growth", 20, 50, 4),
    ("overlap-limited", 20, 50, 4), ("polynomial", 20, 25, 4), ("polynomial", 20, 60, 4), ("euler-square", 18, 36, 3),
    ("affine-plane", 9, 12, 3), ("projective-plane", 13, 13, 4), ("generalised-quadrangle", 15, 15, 3),
    ("generalised-quadrangle", 27, 45, 3), ("complete-graph", 10, 5, 4), ("complete-design", 6, 15, 2),
]  # fmt: skip


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("values", [("signs", 0.0), ("gaussian", 0.0), ("flat", 1.2)])
def test_every_family_draws_its_dictionary(shape, values):
    ensemble = Ensemble(*shape, *values)
    w = ensemble.draw(3)
    assert (w.m, w.n, w.d) == (ensemble.m, ensemble.n, ensemble.d)
    np.testing.assert_allclose(w.column_norms, 1, rtol=1e-14)
    Dictionary(masks.Mask(w.m, w.mask.rows), w.values)  # passes the checks that drawing leaves out
    assert not w.values.flags.writeable
    assert not w.mask.rows.flags.writeable
    assert w.sha256 == ensemble.draw(3).sha256
    other = ensemble.draw(4)
    assert w.sha256 != other.sha256
    random = ensemble.family in ("uniform", "biregular", "progressive-edge-growth", "overlap-limited")
    assert (w.mask != other.mask) == random
    assert np.array_equal(ensemble.draw(3, np.float32).values, w.values.astype(np.float32))


def test_fixed_families_are_the_constructions():
    drawn = {shape: Ensemble(*shape).draw(0).mask for shape in SHAPES}
    assert drawn["polynomial", 20, 60, 4] == masks.polynomial_mask(5, 4, r=3, n=60)
    assert drawn["euler-square", 18, 36, 3] == masks.euler_square_mask(6, 3)
    assert drawn["affine-plane", 9, 12, 3] == masks.affine_plane_mask(3)
    assert drawn["projective-plane", 13, 13, 4] == masks.projective_plane_mask(3)
    assert drawn["generalised-quadrangle", 15, 15, 3] == masks.generalised_quadrangle_mask(2, 2)
    assert drawn["generalised-quadrangle", 27, 45, 3] == masks.generalised_quadrangle_mask(2, 4)
    assert drawn["complete-graph", 10, 5, 4] == masks.complete_graph_mask(5)
    assert drawn["complete-design", 6, 15, 2] == masks.complete_design_mask(6, 2)


def test_draws_are_those_of_the_public_functions():
    rng = stream("0f" * 32, 1)
    mask = uniform_mask(24, 60, 4, seed=rng)
    signs = sign_dictionary(mask, seed=rng)
    assert UNIFORM.draw(stream("0f" * 32, 1)).sha256 == signs.sha256


def test_signs_are_those_that_a_seed_always_gave():
    mask = uniform_mask(24, 60, 4, seed=1)
    signs = 2.0 * generator(5, "signs").integers(0, 2, (60, 4)) - 1.0
    assert np.array_equal(sign_dictionary(mask, seed=5).values, signs / 2)
    rng = generator(5, "flat values")
    moduli = np.full((60, 4), math.sqrt((1 - 0.75**2) / 3))
    moduli[np.arange(60), rng.integers(0, 4, 60)] = 0.75
    expected = moduli * (2.0 * rng.integers(0, 2, (60, 4)) - 1.0)
    np.testing.assert_allclose(flat_dictionary(mask, flatness=1.5, seed=5).values, expected, rtol=1e-15)


def test_limited_overlap_is_the_least_that_greedy_search_reaches():
    w = Ensemble("overlap-limited", 40, 30, 4).draw(1)
    overlaps = (w.mask.to_scipy().T @ w.mask.to_scipy()).toarray()
    np.fill_diagonal(overlaps, 0)
    assert overlaps.max() == 1  # 0 would need n d <= m
    crowded = Ensemble("overlap-limited", 4, 30, 2).draw(1)  # more columns than pairs of rows: equal ones are allowed
    assert len(np.unique(crowded.mask.rows, axis=0)) < 30


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (("tree", 24, 60, 4), "family"),
        (("uniform", 24, 60, 25), "d"),
        (("uniform", 24, 60, 0), "d"),
        (("uniform", 0, 60, 1), "m"),
        (("uniform", 24, 0, 1), "n"),
        (("uniform", 24.5, 60, 4), "m"),
        (("uniform", 24, 60, 4, "none"), "values"),
        (("uniform", 24, 60, 4, "stored"), "values"),
        (("uniform", 24, 60, 4, "flat"), "flatness"),
        (("uniform", 24, 60, 4, "flat", 2.5), "flatness"),
        (("uniform", 24, 60, 4, "signs", math.nan), "flatness"),
        (("uniform", 24, 60, 4, "signs", "x"), "flatness"),
        (("uniform", 24, 60, 4, "signs", 0, "w.safetensors"), "file"),
        (("dense", 24, 60, 4, "gaussian"), "d"),
        (("dense", 24, 60, 24, "signs"), "values"),
        (("polynomial", 24, 60, 5), "m"),
        (("polynomial", 24, 60, 4), "m"),
        (("polynomial", 24, 5000, 3), "r"),
        (("euler-square", 19, 36, 3), "m"),
        (("euler-square", 24, 36, 4), "d"),
        (("euler-square", 18, 35, 3), "n"),
        (("euler-square", 3, 1, 3), "d"),
        (("affine-plane", 36, 42, 6), "d"),
        (("affine-plane", 10, 12, 3), "m"),
        (("affine-plane", 9, 13, 3), "n"),
        (("projective-plane", 13, 12, 4), "n"),
        (("projective-plane", 43, 43, 7), "d"),
        (("generalised-quadrangle", 16, 15, 3), "m"),
        (("generalised-quadrangle", 27, 27, 3), "n"),
        (("complete-graph", 11, 5, 4), "m"),
        (("complete-design", 6, 14, 2), "n"),
        (("complete-design", 512, 14, 100), "n"),
        (("file", 24, 60, 4), "values"),
        (("file", 24, 60, 4, "stored"), "file"),
    ],
)
def test_impossible_ensembles_are_refused(arguments, name):
    with pytest.raises(InvalidArgument) as caught:
        Ensemble(*arguments)
    assert caught.value.name == name


def test_an_impossible_design_is_told_what_is_possible():
    with pytest.raises(InvalidArgument, match="m = 16: must be 15 or 27 for the family generalised-quadrangle"):
        Ensemble("generalised-quadrangle", 16, 15, 3)


@pytest.fixture
def decoder(tmp_path):
    """A saved dictionary whose columns have norms from 1/2 to 2, as a trained decoder may have."""
    mask = uniform_mask(24, 60, 4, seed=1)
    values = sign_dictionary(mask, seed=2).values * np.logspace(-1, 1, 60, base=2)[:, None]
    Dictionary(mask, values.astype(np.float32)).save(tmp_path / "w.safetensors")
    return tmp_path / "w.safetensors"


def test_a_file_is_an_ensemble_of_one_with_unit_columns(decoder):
    ensemble = Ensemble.from_file(decoder)
    assert (ensemble.m, ensemble.n, ensemble.d, ensemble.values) == (24, 60, 4, "stored")
    assert ensemble == Ensemble("file", 24, 60, 4, "stored", file=str(decoder))
    w = ensemble.draw(0)
    assert w.dtype == np.float64
    np.testing.assert_allclose(w.column_norms, 1, rtol=1e-6)
    np.testing.assert_allclose(w.values, sign_dictionary(w.mask, seed=2).values, rtol=1e-6)
    assert ensemble.draw(1).sha256 == w.sha256
    with pytest.raises(InvalidArgument, match="n = 61: must be 60"):
        Ensemble("file", 24, 61, 4, "stored", file=str(decoder))


def test_a_dense_file_is_an_ensemble_too(tmp_path):
    DENSE.draw(1).save(tmp_path / "dense.safetensors")
    ensemble = Ensemble.from_file(tmp_path / "dense.safetensors")
    assert isinstance(ensemble.draw(0), DenseDictionary)
    assert run_block(Task(ensemble, 1, dictionaries="fixed"), 0).outcome == "1" * 25


def test_the_content_of_a_file_is_its_identity_not_its_place(decoder, tmp_path):
    moved = tmp_path / "elsewhere.safetensors"
    moved.write_bytes(decoder.read_bytes())
    tasks = [Task(Ensemble.from_file(path), 3, dictionaries="fixed") for path in (decoder, moved)]
    assert tasks[0] == tasks[1]
    assert tasks[0].id == tasks[1].id
    assert run_block(tasks[0], 0) == run_block(tasks[1], 0)
    other = Ensemble.from_file(decoder).draw(0)
    other.save(tmp_path / "other.safetensors")
    assert Task(Ensemble.from_file(tmp_path / "other.safetensors"), 3, dictionaries="fixed").id != tasks[0].id


def test_a_file_that_changed_or_is_unusable_is_refused(decoder, tmp_path):
    task = Task(Ensemble.from_file(decoder), 3, dictionaries="fixed", seed=77)
    UNIFORM.draw(5).save(decoder)
    with pytest.raises(InvalidFile, match=r"w\.safetensors: has changed"):
        run_block(task, 0)
    decoder.unlink()
    with pytest.raises(InvalidFile, match="no such file"):
        run_block(task, 0)
    w = UNIFORM.draw(0)
    values = w.values.copy()
    values[7, 2] = np.nan
    arrays = {"rows": w.mask.rows, "values": values}
    write_arrays(decoder, "expander-dictionary", 1, {"m": 24, "recipe": "x"}, arrays)
    with pytest.raises(InvalidFile, match=r"w\.safetensors: holds no usable dictionary.*NaN"):
        Ensemble.from_file(decoder)
    with pytest.raises(InvalidArgument, match="must name the file of the dictionary"):
        replace(task.ensemble, file="").draw(0)


def test_a_file_s_one_dictionary_is_fixed(decoder):
    with pytest.raises(InvalidArgument, match="dictionaries = fresh: must be fixed"):
        Task(Ensemble.from_file(decoder), 3)
