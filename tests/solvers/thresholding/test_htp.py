import numpy as np
import pytest
from support.cases import solver_oracles as oracles
from support.cases.solver_cases import codes, generic_dictionary, noise, noise_and_codes

from expander_theory import (
    BlockDictionary,
    DenseDictionary,
    InvalidArgument,
    RecoveryStatus,
    dense_gaussian_dictionary,
    gaussian_dictionary,
    uniform_mask,
)
from expander_theory.solvers import htp, niht


@pytest.mark.parametrize("masked", [True, False])
def test_agrees_with_the_definition(masked):
    """Noisy and noiseless signals, after few and after many iterations."""
    w = generic_dictionary(masked, 48, 90)
    h = noise_and_codes(w, 5, 12, noiseless=4)
    for limit in (1, 2, 40):
        found = htp(w, h, 5, max_iterations=limit, relative_tolerance=1e-10)
        for b in range(12):
            code, steps, trail = oracles.htp(w.to_dense(), h[b], 5, limit, 1e-10)
            if found.status[b] == RecoveryStatus.SUPPORT_STABLE:  # the oracle goes on, around the cycle
                trail = [np.linalg.norm(h[b] - w.to_dense() @ later) for later in trail[found.iterations[b] :]]
                assert found.residual_norms[b] == pytest.approx(min(trail), abs=1e-10)
                assert found.residual_norms[b] == pytest.approx(np.linalg.norm(h[b] - w.matvec(found.to_dense()[b])))
                continue
            np.testing.assert_allclose(found.to_dense()[b], code, atol=1e-8)
            assert found.iterations[b] == steps
            assert found.residual_norms[b] == pytest.approx(np.linalg.norm(h[b] - w.to_dense() @ code), abs=1e-10)
            assert (np.diff(np.abs(found.coefficients[b])) <= 0).all()
    assert {RecoveryStatus.SUPPORT_STABLE, RecoveryStatus.RESIDUAL_SMALL} <= set(found.status.tolist())


def test_of_a_cycle_the_best_support_is_returned():
    """In a small and coherent dictionary some supports follow each other for ever; all of them are seen to repeat."""
    w = dense_gaussian_dictionary(10, 40, seed=1)
    h = noise(60, 10)
    found = htp(w, h, 4, max_iterations=300)
    assert (found.status == RecoveryStatus.SUPPORT_STABLE).all()
    lengths = set()
    for b in range(60):
        _, _, trail = oracles.htp(w.to_dense(), h[b], 4, int(found.iterations[b]) + 20, 1e-13)
        supports = [tuple(np.nonzero(code)[0]) for code in trail]
        cycle = set(supports[found.iterations[b] :])
        lengths.add(len(cycle))
        norms = {support: np.linalg.norm(h[b] - w.to_dense() @ trail[supports.index(support)]) for support in cycle}
        assert tuple(found.supports[b]) == min(norms, key=norms.get)
    assert 1 in lengths
    assert len(lengths) > 1


def test_the_normalised_step_of_the_paper_is_not_defined():
    """On the support of x the gradient is rounding error after least squares, and so is its quotient of norms."""
    w = dense_gaussian_dictionary(48, 90, seed=1)
    h = noise(1, 48)[0]
    found = htp(w, h, 5, max_iterations=1)
    gradient = w.rmatvec(h - w.matvec(found.to_dense()[0]))
    assert np.abs(gradient[found.indices[0]]).max() < 1e-14
    assert np.abs(gradient).max() > 0.1


def test_a_step_of_another_length():
    w = generic_dictionary(True, 48, 90)
    h = noise(12, 48)
    short, long = htp(w, h, 5, step=0.4), htp(w, h, 5)
    for b in range(12):
        _, _, trail = oracles.htp(w.to_dense(), h[b], 5, int(short.iterations[b]), 1e-13, mu=0.4)
        norms = [np.linalg.norm(h[b] - w.to_dense() @ code) for code in trail]
        assert min(abs(norm - short.residual_norms[b]) for norm in norms) < 1e-10
    assert short.iterations.sum() < long.iterations.sum()
    for wrong in (0.0, -1.0, np.inf, np.nan, "long"):
        with pytest.raises(InvalidArgument, match="step"):
            htp(w, h, 5, step=wrong)


def test_one_iteration_on_orthogonal_columns():
    w = DenseDictionary(np.linalg.qr(noise(20, 20))[0])
    x = codes(20, 4, 10)
    found = htp(w, w.matvec(x), 4)
    assert found.iterations.tolist() == [1] * 10
    np.testing.assert_allclose(found.to_dense(), x, atol=1e-12)


def test_recovers_easy_codes_in_fewer_iterations_than_without_least_squares():
    w = gaussian_dictionary(uniform_mask(128, 256, 7, seed=0), seed=0)
    x = codes(256, 8, 40)
    found = htp(w, w.matvec(x), 8)
    assert (found.status == RecoveryStatus.RESIDUAL_SMALL).all()
    np.testing.assert_allclose(found.to_dense(), x, atol=1e-12)
    assert 3 * found.iterations.mean() < niht(w, w.matvec(x), 8).iterations.mean()


def test_blocks_are_solved_as_dense_columns():
    masked = gaussian_dictionary(uniform_mask(32, 40, 5, seed=0), seed=0)
    w = BlockDictionary(dense_gaussian_dictionary(32, 8, seed=0), masked)
    h = noise(6, 32)
    found, dense = htp(w, h, 4), htp(DenseDictionary(w.to_dense().T), h, 4)
    np.testing.assert_array_equal(found.indices, dense.indices)
    np.testing.assert_array_equal(found.coefficients, dense.coefficients)


def test_dependent_columns_and_as_many_atoms_as_rows():
    """Every column twice: the least squares leaves out what is dependent, and nothing is NaN."""
    half = dense_gaussian_dictionary(8, 10, seed=0).columns
    w = DenseDictionary(np.concatenate([half, half]))
    for k in (1, 4, 8):
        found = htp(w, noise(20, 8), k)
        assert np.isfinite(found.coefficients).all()
        for b in range(20):
            atoms = found.indices[b, : found.steps[b]]
            assert len({int(j) % 10 for j in atoms}) == len(atoms)  # never a column and its copy
    assert htp(w, 2.0 * half[3], 1).to_dense()[0].tolist() == pytest.approx(oracles.code_of(20, [3], [2.0]).tolist())


def test_stops():
    w = DenseDictionary(np.eye(4)[:2])
    none = htp(w, np.array([0.0, 0.0, 1.0, 0.0]), 1)
    assert none.status.tolist() == [RecoveryStatus.NO_CORRELATION]
    assert (none.steps.tolist(), none.iterations.tolist()) == ([0], [0])
    part = htp(w, np.array([2.0, 0.0, 1.0, 0.0]), 1)
    assert part.status.tolist() == [RecoveryStatus.SUPPORT_STABLE]
    assert part.to_dense().tolist() == [[2.0, 0.0]]
    short = htp(dense_gaussian_dictionary(48, 90, seed=1), noise(10, 48), 5, max_iterations=1)
    assert RecoveryStatus.ITERATION_LIMIT in short.status
