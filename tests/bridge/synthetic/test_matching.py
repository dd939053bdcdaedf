"""Matching of columns to known features, and what is said of their firing."""

import itertools

import numpy as np
import pytest
import scipy.sparse
import torch

from expander_theory import InvalidArgument
from sae_bridge.sae import TopKSAE, untrained_null
from sae_bridge.synthetic import (
    Planted,
    Sample,
    absorbed,
    codes_of,
    detection,
    match,
    pairwise_mcc,
    split,
    truth_measures,
)
from sae_bridge.synthetic.matching import best_thresholds, f1_by_column

RNG = np.random.default_rng(0)


def csr(dense):
    return scipy.sparse.csr_array(np.asarray(dense, float))


def test_the_assignment_has_the_largest_total_of_all():
    features, columns = RNG.standard_normal((4, 6)), RNG.standard_normal((5, 6))
    found = match(features, columns)
    unit = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in (features, columns)]
    cosine = np.abs(unit[0] @ unit[1].T)
    best = max(cosine[range(4), list(p)].sum() for p in itertools.permutations(range(5), 4))
    assert found.cosine.sum() == pytest.approx(best)
    assert found.mcc == pytest.approx(best / 4)
    assert len(set(found.column)) == 4


def test_signs_scale_and_order_of_columns_do_not_matter():
    features = RNG.standard_normal((5, 8))
    order = np.array([3, 1, 4, 0, 2])
    signs = np.array([1, -1, 1, -1, -1])
    found = match(features, (signs[:, None] * features * 3)[order])
    np.testing.assert_allclose(found.cosine, 1)
    np.testing.assert_array_equal(order[found.column], np.arange(5))
    np.testing.assert_array_equal(found.sign, signs)
    assert pairwise_mcc(features, -features[order]) == pytest.approx(1)


def test_features_without_a_column_are_not_found_and_count_as_never_detected():
    features = np.eye(4)
    found = match(features, np.eye(4)[:2])
    assert found.column.tolist() == [0, 1, -1, -1]
    truth = csr(np.ones((3, 4)))
    got = detection(truth, csr(np.ones((3, 2))), found)
    np.testing.assert_array_equal(got.recall, [1, 1, 0, 0])
    assert got.mean("f1") == 0.5


def test_precision_recall_and_f1_by_hand():
    truth = csr([[1, 0], [1, 0], [0, 2], [0, 0]])
    codes = csr([[0, -3.0], [0, 0], [1.0, -0.5], [1.0, 0]])  # column 1 is feature 0, with the other sign
    found = match(np.eye(2), np.array([[0, 1.0], [-1.0, 0]]))
    got = detection(truth, codes, found)
    np.testing.assert_allclose(got.precision, [1 / 2, 1 / 2])
    np.testing.assert_allclose(got.recall, [1 / 2, 1])
    np.testing.assert_allclose(got.f1, [1 / 2, 2 / 3])
    codes = csr([[0, 3.0], [0, 0], [0, 0], [0, 0]])  # fires against its feature's direction: no detection
    assert detection(truth, codes, found).recall[0] == 0


def test_thresholds_are_the_best_ones():
    truth = csr(np.array([[1, 1, 1, 0, 0, 0]]).T)
    codes = csr(np.array([[5, 4, 3, 2, 1, 0]]).T)
    found = match(np.eye(1), np.eye(1))
    assert detection(truth, codes, found).f1[0] == pytest.approx(6 / 8)
    thresholds = best_thresholds(truth, codes, found)
    assert 2 <= thresholds[0] < 3
    assert detection(truth, codes, found, thresholds=thresholds).f1[0] == 1
    every = csr(np.array([[5, 5, 5, 5]]).T)  # equal activations fall together: no threshold between them
    assert best_thresholds(csr(np.array([[1, 1, 0, 0]]).T), every, found)[0] == 0


def test_f1_by_column_takes_the_nearest_feature_and_counts_dead_columns_as_zero():
    truth = csr([[1, 0], [0, 1]])
    columns = np.array([[1.0, 0.1], [1.0, 0.0], [0.0, 1.0]])
    codes = csr([[1, 1, 0], [0, 0, 0]])
    assert f1_by_column(truth, codes, np.eye(2), columns) == pytest.approx((1 + 1 + 0) / 3)


def test_a_feature_with_two_near_columns_is_split():
    columns = np.array([[1.0, 0.1], [1.0, -0.1], [0.0, 1.0]])
    np.testing.assert_array_equal(split(np.eye(2), columns, np.array([True, True, True]), least=0.9), [True, False])
    assert not split(np.eye(2), columns, np.array([True, False, True]), least=0.9).any()


def test_a_child_that_takes_over_its_parent_absorbs_it():
    features, parents = np.eye(2), np.array([-1, 0])
    truth = csr([[1, 1], [1, 1], [1, 0], [1, 0]])
    honest = match(features, features)
    assert absorbed(truth, truth, honest, parents, features, features) == (0, 1)
    columns = np.array([[1.0, 0.0], [0.7, 0.7]])  # the child's column has the parent in it
    codes = csr([[0, 1], [0, 1], [1, 0], [1, 0]])
    assert absorbed(truth, codes, match(features, columns), parents, features, columns) == (1, 1)


def test_the_known_directions_themselves_are_found_and_random_ones_are_not():
    features = Planted(m=32, n=48, l0=2.0).build()
    sample, other = (Sample.drawn(features, 2000, key) for key in ("held out", "thresholds"))
    sae = TopKSAE(32, 48, 2, encoder="omp")
    with torch.no_grad():
        sae.weight.copy_(torch.from_numpy(features.directions))
    found = truth_measures(sae.eval(), features, sample, other)
    assert found["mcc"] == pytest.approx(1, abs=1e-6)
    assert found["found"] == 1
    assert found["precision"] > 0.95
    assert found["f1"] > 0.75
    null = truth_measures(untrained_null(torch.zeros(32), 48, 2), features, sample, other)
    assert null["found"] == 0
    assert null["mcc"] < 0.6
    assert null["f1"] < found["f1"] / 2
    assert null["absorbed"] is None
    assert null["true_l0"] == sample.truth.nnz / 2000


def test_codes_and_fvu_are_those_of_the_sae():
    features = Planted(m=8, n=12, l0=2.0).build()
    sample = Sample.drawn(features, 300, "held out")
    sae = untrained_null(sample.h.mean(dim=0), 12, 3)
    codes, reconstructed = codes_of(sae, sample.h)
    acts, indices = sae.encode(sample.h)
    dense = torch.zeros(300, 12).scatter_add(1, indices, acts)
    np.testing.assert_allclose(codes.toarray(), dense.detach().numpy(), atol=1e-6)
    torch.testing.assert_close(reconstructed, sae.decode(acts, indices).detach())
    h = sample.h
    fvu = float((reconstructed - h).square().sum() / (h - h.mean(dim=0)).square().sum())
    assert truth_measures(sae, features, sample, sample)["fvu"] == pytest.approx(fvu, rel=1e-4)


def test_directions_of_other_widths_are_refused():
    with pytest.raises(InvalidArgument, match="columns"):
        match(np.eye(3), np.eye(4))
    with pytest.raises(InvalidArgument, match="must not be empty"):
        match(np.eye(3), np.zeros((0, 3)))
