"""What users bring, block by block: the built-in equivalent does the same, and wrong returns are named."""

from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse
from support.cases.trial_cases import DENSE, TASK, UNIFORM

from expander_theory.base import Plugin, PluginFailed
from expander_theory.base.errors import InvalidArgument, InvalidFile
from expander_theory.dictionaries import BlockDictionary, DenseDictionary, Dictionary, as_dictionary
from expander_theory.dictionaries.brought import drawn_by
from expander_theory.dictionaries.values import gaussian_values
from expander_theory.masks import build_mask
from expander_theory.simulation import planted_codes
from expander_theory.simulation.trials import CodeLaw, Ensemble, Noise, Success, run_block
from expander_theory.solvers import SOLVERS, RecoveryStatus, omp, solve_by

SIGNALS = np.random.default_rng(0).standard_normal((3, 24))
W = UNIFORM.draw(0)


def brought(function):
    """A plugin of any function, whatever it captures."""
    return Plugin(function.__name__, "0" * 64, function=function)


def given(value):
    def returned(*_):
        return value

    return brought(returned)


# Solvers


def own_omp(W, signals, k):
    return omp(as_dictionary(W), signals, k)


def own_topk(W, signals, k):
    found = SOLVERS["topk"](as_dictionary(W), signals, k)
    return found.indices, found.coefficients


@pytest.mark.parametrize("change", [{}, {"ensemble": DENSE}, {"precision": "float64"}, {"dictionaries": "fixed"},
                                    {"signals_per_dictionary": 5}, {"noise": Noise("relative", 0.05)}])  # fmt: skip
@pytest.mark.parametrize(("own", "name"), [(own_omp, "omp"), (own_topk, "topk")])
def test_a_user_s_call_of_a_solver_is_that_solver(change, own, name):
    task = replace(TASK, solver=name, **change)
    mine, known = run_block(replace(task, solver=own), 1), run_block(task, 1)
    assert mine.outcome == known.outcome
    assert mine.fraction == known.fraction
    assert mine.error == pytest.approx(known.error, rel=1e-6)


def test_every_way_to_return_codes_is_the_same():
    found = omp(W, SIGNALS, 3)
    dense = found.to_dense()
    ways = [found, (found.indices, found.coefficients), dense, dense.tolist(), found.to_scipy(),
            scipy.sparse.coo_array(dense), scipy.sparse.csc_matrix(dense),
            (found.indices.astype(np.int8), found.coefficients), np.asarray(dense, np.longdouble)]  # fmt: skip
    for way in ways:
        mine = solve_by(given(way), W, SIGNALS, 3)
        np.testing.assert_array_equal(mine.to_dense(), dense)
        np.testing.assert_allclose(mine.residual_norms, found.residual_norms, atol=1e-12)
        assert (mine.status == RecoveryStatus.RETURNED).all()
    assert (found.indices >= 0).all()


def test_of_more_nonzeros_the_largest_k_count():
    codes = np.zeros((3, 60))
    codes[0, [3, 8, 50]] = 1, -3, 2
    codes[1, [9, 4, 7]] = 5, -5, 5
    for way in (codes, scipy.sparse.csr_array(codes), (np.tile(np.arange(60), (3, 1)), codes)):
        found = solve_by(given(way), W, SIGNALS, 2)
        assert found.indices.tolist() == [[8, 50], [4, 7], [-1, -1]]
        assert found.coefficients.tolist() == [[-3, 2], [-5, 5], [0, 0]]
        assert found.steps.tolist() == [2, 2, 0]
        np.testing.assert_allclose(found.residual_norms[2], np.linalg.norm(SIGNALS[2]))


def test_a_zero_coefficient_is_no_atom():
    found = solve_by(given((np.array([[5, 6]] * 3), np.array([[0.0, 1]] * 3))), W, SIGNALS, 2)
    assert found.indices.tolist() == [[6, -1]] * 3
    doubled = scipy.sparse.coo_array(([1.0, -1, 2], ([0, 0, 0], [5, 5, 6])), shape=(3, 60))
    assert solve_by(given(doubled), W, SIGNALS, 2).indices.tolist() == [[6, -1], [-1, -1], [-1, -1]]


CODES = np.zeros((3, 60))
CODES[:, 5] = 1


def atoms(*rows):
    return np.array(rows or [[5, 6]] * 3), np.ones((3, 2))


def sparse_with(atom):
    return scipy.sparse.csr_array(([1.0, 2.0], [3, atom], [0, 2, 2, 2]), shape=(3, 60))


@pytest.mark.parametrize(
    ("returned", "says"),
    [
        (CODES.T, r"codes of shape \(60, 3\), must be \(batch, n\) = \(3, 60\)"),
        (CODES[0], r"codes of shape \(60,\)"),
        (scipy.sparse.csr_array(CODES[:, :59]), r"codes of shape \(3, 59\)"),
        (scipy.sparse.coo_array(CODES[0]), r"codes of shape \(60,\)"),
        (np.where(CODES, np.nan, 0), "NaN or infinity"),
        (scipy.sparse.csr_array(np.where(CODES, np.inf, 0)), "NaN or infinity"),
        (CODES * 1j, "codes of complex128, must be real"),
        (scipy.sparse.csr_array(CODES * (1 + 1j)), "complex128, must be real"),
        (None, "codes of object"),
        ([["a"] * 60] * 3, "codes of <U1"),
        ((atoms()[0] * 1.0, atoms()[1]), "atoms of float64, must be integers"),
        ((atoms()[0], atoms()[1] * 1j), "coefficients of complex128"),
        (atoms([5, 5], [5, 6], [5, 6]), "the atom 5 twice"),
        (atoms([5, 60], [5, 6], [5, 6]), r"the atom 60, must lie in 0\.\.59"),
        (atoms([5, -2], [5, 6], [5, 6]), "the atom -2"),
        ((atoms()[0], np.full((3, 2), np.inf)), "NaN or infinity"),
        ((atoms()[0], np.ones((3, 3))), r"atoms of shape \(3, 2\) and coefficients of shape \(3, 3\)"),
        ((atoms()[0][:2], np.ones((2, 2))), "with batch = 3"),
        (sparse_with(70), "60"),
        (sparse_with(-5), "not sound: indices must be >= 0"),
    ],
)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_wrong_codes_are_named(returned, says):
    with pytest.raises(PluginFailed, match=rf"the solver returned 00000000 returned .*({says})"):
        solve_by(given(returned), W, SIGNALS, 4)


def test_codes_that_the_precision_does_not_hold_are_named_or_bounded():
    single, signals = W.astype(np.float32), SIGNALS.astype(np.float32)
    try:
        with np.errstate(over="ignore", invalid="ignore"):
            found = solve_by(given(CODES * 1e39), single, signals, 2)
    except PluginFailed:
        return
    assert np.isfinite(found.coefficients).all()


def test_a_solver_gets_what_its_protocol_says_and_cannot_spoil_it():
    seen = []

    def spoiling(W, signals, k):
        seen.append((type(W), W.dtype, signals.dtype, k, np.abs(signals).sum()))
        signals[:] = np.nan
        if scipy.sparse.issparse(W):
            W.indices[:] = 0
            W.data[:] = 0
        else:
            W[:] = 0
        return CODES

    for dictionary, kind in ((W, scipy.sparse.csc_array), (DENSE.draw(0), np.ndarray)):
        for dtype in (np.float32, np.float64):
            drawn, signals = dictionary.astype(dtype), SIGNALS.astype(dtype)
            expected = solve_by(given(CODES), drawn, signals, 2)
            found = solve_by(brought(spoiling), drawn, signals, 2)
            assert seen[-1] == (kind, dtype, dtype, 2, np.abs(SIGNALS.astype(dtype)).sum())
            assert np.isfinite(signals).all()
            again = solve_by(given(CODES), drawn, signals, 2)
            np.testing.assert_array_equal(again.residual_norms, expected.residual_norms)
            assert (found.indices == expected.indices).all()


@pytest.mark.parametrize("k", [0, 25])
def test_sparsities_that_no_code_has_are_refused(k):
    with pytest.raises(InvalidArgument):
        solve_by(given(CODES), W, SIGNALS, k)


# Dictionaries


def own_gaussian(m, n, d, rng):
    columns = rng.standard_normal((n, m))
    return (columns / np.linalg.norm(columns, axis=1, keepdims=True)).T


def own_masked(m, n, d, rng):
    mask = build_mask("uniform", m, n, d, seed=rng)
    return Dictionary(mask, gaussian_values(mask.rows.shape, rng)).to_scipy()


@pytest.mark.parametrize("policy", ["fresh", "cell", "fixed"])
@pytest.mark.parametrize(
    ("own", "d", "kind"), [(own_gaussian, None, DenseDictionary), (own_masked, 4, Dictionary)]
)  # fmt: skip
def test_a_user_s_ensemble_is_swept_as_the_project_s_own(own, d, kind, policy):
    mine = Ensemble.from_function(own, 24, 60, d)
    known = DENSE if d is None else Ensemble("uniform", 24, 60, 4, "gaussian")
    assert isinstance(mine.draw(3), kind)
    np.testing.assert_allclose(mine.draw(3).to_dense(), known.draw(3).to_dense(), atol=1e-14)
    task = replace(TASK, ensemble=mine, dictionaries=policy, precision="float64", k=4)
    outcome = "".join(run_block(task, block).outcome for block in range(6))
    reference = "".join(run_block(replace(task, ensemble=known), block).outcome for block in range(6))
    assert 0.2 < outcome.count("1") / 150 < 1
    assert abs(outcome.count("1") - reference.count("1")) < (25 if policy == "fresh" else 110)


def test_columns_are_scaled_and_the_degree_is_handed_over():
    def degrees(m, n, d, rng):
        return np.full((m, n), float(d)) + np.eye(m, n) * rng.random()

    drawn = Ensemble.from_function(Plugin("f", "0" * 64, function=degrees), 6, 9, 3).draw(0)
    np.testing.assert_allclose(np.linalg.norm(drawn.to_dense(), axis=0), 1)
    blocks = drawn_by(given(BlockDictionary(DENSE.draw(0), UNIFORM.draw(1))), 24, 120, 24, np.random.default_rng(0))
    assert (blocks.m, blocks.n) == (24, 120)


@pytest.mark.parametrize(
    ("returned", "says"),
    [
        (np.ones((60, 24)), r"shape \(60, 24\), must be \(24, 60\)"),
        (np.eye(24, 60), "column 24 is zero"),
        (scipy.sparse.csc_array(np.eye(24, 60)), "column 24 is zero"),
        (np.full((24, 60), np.nan), "NaN"),
        (scipy.sparse.csc_array(np.where(np.eye(24, 60, 0), np.inf, 0) + np.eye(24, 60, 1)), "zero|infinit"),
        (np.ones((24, 60)) * 1j, "complex128: must be real"),
        (np.ones(24), "must be an .*matrix"),
        (None, "no dictionary"),
        ("W", "no dictionary"),
        (scipy.sparse.csc_array(([1.0], [70], [0, *[1] * 60]), shape=(24, 60)), "sound"),
    ],
)
def test_wrong_dictionaries_are_named(returned, says):
    with pytest.raises(PluginFailed, match=rf"the dictionary law returned 00000000 returned.*({says})"):
        drawn_by(given(returned), 24, 60, 4, np.random.default_rng(0))


# Codes, noise, criteria


def own_codes(n, k, batch, rng):
    supports = np.argsort(rng.random((batch, n)), axis=1)[:, :k]
    return supports, 2.0 * rng.integers(0, 2, (batch, k)) - 1


def own_noise(signals, rng):
    return signals + 0.1 * rng.standard_normal(signals.shape)


def own_support(planted, found):
    return ((planted != 0) == (found != 0)).all(axis=1)


def test_a_user_s_noise_and_criterion_equal_to_the_project_s_give_its_outcomes():
    task = replace(TASK, success=Success("user", plugin=own_support), k=7)
    for block in range(3):
        mine, known = run_block(task, block), run_block(replace(task, success=Success()), block)
        assert mine == known
        assert 0 < mine.outcome.count("1") < 25
    signals = np.ones((4, 24))
    noisy = Noise("user", plugin=own_noise).add(signals, seed=5)
    np.testing.assert_array_equal(noisy, Noise("absolute", 0.1).add(signals, seed=5))
    assert (signals == 1).all()


def test_a_criterion_sees_each_code_beside_its_own_planted_one():
    def near(planted, found):
        return np.linalg.norm(found - planted, axis=1) <= 0.3 * np.linalg.norm(planted, axis=1)

    for shared in (1, 5):
        task = replace(TASK, signals_per_dictionary=shared, noise=Noise("relative", 0.3))
        mine = run_block(replace(task, success=Success("user", plugin=near)), 0)
        assert mine == run_block(replace(task, success=Success("error", 0.3)), 0)
        assert 0 < mine.outcome.count("1") < 25


def test_a_user_s_codes_are_planted_in_order():
    law = CodeLaw("user", plugin=own_codes)
    planted = planted_codes(law, 60, 5, 40, seed=1)
    supports, values = own_codes(60, 5, 40, np.random.Generator(np.random.Philox(0)))
    assert (np.diff(planted.supports, axis=1) > 0).all()
    assert planted.supports.shape == supports.shape
    swapped = planted_codes(CodeLaw("user", plugin=given((supports, values))), 60, 5, 40, seed=1)
    dense, expected = np.zeros((40, 60)), np.zeros((40, 60))
    np.put_along_axis(dense, swapped.supports.astype(int), swapped.values, axis=1)
    np.put_along_axis(expected, supports, values, axis=1)
    np.testing.assert_array_equal(dense, expected)
    same = replace(TASK, codes=law)
    assert run_block(same, 0) == run_block(same, 0) != run_block(same, 1)


PAIR = (np.array([[0, 1]] * 3), np.ones((3, 2)))


@pytest.mark.parametrize(
    ("returned", "says"),
    [
        (np.ones((3, 60)), r"returned a ndarray, must be a pair"),
        ((PAIR[0].T, PAIR[1]), r"supports of shape \(2, 3\), must be \(batch, k\) = \(3, 2\)"),
        ((PAIR[0], PAIR[1][:, :1]), r"coefficients of shape \(3, 1\)"),
        ((PAIR[0] * 1.0, PAIR[1]), "not all integers"),
        ((PAIR[0] + 59, PAIR[1]), r"0\.\.59"),
        ((PAIR[0] - 1, PAIR[1]), r"0\.\.59"),
        ((PAIR[0] * 0, PAIR[1]), "repeated column"),
        ((PAIR[0], PAIR[1] * 0), "0, NaN or infinite"),
        ((PAIR[0], PAIR[1] * np.nan), "0, NaN or infinite"),
        ((PAIR[0], PAIR[1] * 1j), "complex128, must be real"),
    ],
)
def test_wrong_planted_codes_are_named(returned, says):
    with pytest.raises(PluginFailed, match=f"the law of codes returned 00000000 .*{says}"):
        planted_codes(CodeLaw("user", plugin=given(returned)), 60, 2, 3, seed=0)


@pytest.mark.parametrize(
    ("returned", "says"),
    [(np.ones((24, 3)), r"shape \(24, 3\), must be \(batch, m\)"), (np.full((3, 24), np.inf), "NaN or infinity"),
     (np.ones((3, 24)) * 1j, "must be real"), (None, "must be real")],
)  # fmt: skip
def test_wrong_noise_is_named(returned, says):
    with pytest.raises(PluginFailed, match=f"the law of noise returned 00000000 returned .*{says}"):
        Noise("user", plugin=given(returned)).add(SIGNALS, seed=0)


@pytest.mark.parametrize(
    ("returned", "says"),
    [(np.ones(25), "float64, must be booleans"), (np.ones(25, int), "int64"), (True, r"shape \(\)"), (None, "object"),
     (np.ones((25, 1), bool), r"shape \(25, 1\)"), (np.ones(24, bool), r"shape \(24,\), must be \(batch,\)")],
)  # fmt: skip
def test_wrong_verdicts_are_named(returned, says):
    task = replace(TASK, success=Success("user", plugin=given(returned)), dictionaries="fixed")
    with pytest.raises(PluginFailed, match=f"the criterion returned 00000000 returned .*{says}"):
        run_block(task, 0)


@pytest.mark.parametrize(
    "make",
    [
        lambda: CodeLaw("user"),
        lambda: CodeLaw("gaussian", plugin=own_codes),
        lambda: CodeLaw("user", firing_sha256="0" * 64, plugin=own_codes),
        lambda: CodeLaw("file"),
        lambda: CodeLaw("gaussian", file_sha256="0" * 64),
        lambda: Noise("user"),
        lambda: Noise("user", 0.1, plugin=own_noise),
        lambda: Noise("absolute", 0.1, plugin=own_noise),
        lambda: Success("user"),
        lambda: Success("user", 0.5, plugin=own_support),
        lambda: Success("user", early_stop=True, plugin=own_support),
        lambda: Success("support", plugin=own_support),
        lambda: Ensemble("user", 24, 60, 4, "stored"),
        lambda: Ensemble("uniform", 24, 60, 4, plugin=own_gaussian),
        lambda: Ensemble("user", 24, 60, 4, "signs", plugin=own_gaussian),
        lambda: replace(TASK, solver=own_omp, success=Success(early_stop=True)),
    ],
)
def test_what_does_not_go_together_is_refused(make):
    with pytest.raises(InvalidArgument):
        make()


# Codes of a file


@pytest.fixture
def stored(tmp_path):
    codes = scipy.sparse.random_array((20, 60), density=0.15, rng=np.random.default_rng(0)).tocsr()
    scipy.sparse.save_npz(tmp_path / "codes.npz", codes)
    return tmp_path / "codes.npz", codes.toarray()


def test_codes_of_a_file_are_its_rows_cut_to_their_largest(stored):
    path, rows = stored
    counts = (rows != 0).sum(axis=1)
    k = int(np.median(counts)) + 1
    full = {}
    for row in rows[counts >= k]:
        cut = np.where(np.isin(np.arange(60), np.argsort(-np.abs(row))[:k]), row, 0)
        full[cut.tobytes()] = row
    assert 3 < len(full) < 20
    planted = planted_codes(CodeLaw("file", file=str(path)), 60, k, 500, seed=0)
    assert (np.diff(planted.supports, axis=1) > 0).all()
    drawn = np.zeros((500, 60))
    np.put_along_axis(drawn, planted.supports.astype(int), planted.values, axis=1)
    assert {code.tobytes() for code in drawn} == set(full)


def test_codes_of_a_file_that_do_not_fit_are_refused(stored):
    path, rows = stored
    law, most = CodeLaw("file", file=str(path)), int((rows != 0).sum(axis=1).max())
    replace(TASK, codes=law, k=most)
    with pytest.raises(InvalidArgument, match=f"k = {most + 1}: must be at most {most}"):
        replace(TASK, codes=law, k=most + 1)
    with pytest.raises(InvalidArgument, match="codes of length 60: must have the dictionary's n = 59"):
        replace(TASK, codes=law, ensemble=replace(UNIFORM, n=59))


def test_the_content_of_codes_is_their_identity(stored, tmp_path):
    path, rows = stored
    scipy.sparse.save_npz(tmp_path / "moved.npz", scipy.sparse.coo_array(rows), compressed=False)
    law = CodeLaw("file", file=str(path))
    same = replace(TASK, codes=CodeLaw("file", file=str(tmp_path / "moved.npz")))
    assert same.id == replace(TASK, codes=law).id
    assert run_block(same, 0) == run_block(replace(TASK, codes=law), 0)
    rows[0] *= 2
    scipy.sparse.save_npz(tmp_path / "moved.npz", scipy.sparse.coo_array(rows))
    assert replace(TASK, codes=CodeLaw("file", file=str(tmp_path / "moved.npz"))).id != same.id
    scipy.sparse.save_npz(tmp_path / "changed.npz", scipy.sparse.coo_array(rows))
    with pytest.raises(InvalidFile, match="has changed: its codes have SHA-256"):
        planted_codes(replace(law, file=str(tmp_path / "changed.npz")), 60, 3, 5, seed=0)
    with pytest.raises(InvalidArgument, match="must name the file of the codes"):
        planted_codes(replace(law, file=""), 60, 3, 5, seed=0)


def test_damaged_codes_are_refused_whatever_the_damage(stored, tmp_path):
    path, _ = stored
    whole, rng, refused = path.read_bytes(), np.random.default_rng(0), 0
    for _ in range(200):
        damaged = bytearray(whole)
        for _ in range(rng.integers(1, 4)):
            damaged[rng.integers(len(damaged))] = rng.integers(256)
        (tmp_path / "damaged.npz").write_bytes(damaged[: rng.integers(1, len(damaged)) if rng.random() < 0.2 else None])
        try:
            CodeLaw("file", file=str(tmp_path / "damaged.npz"))
        except InvalidFile:
            refused += 1
    assert refused > 100
