import numpy as np
import pytest
from scipy.stats import norm, t

from expander_theory import InvalidArgument
from sae_bridge.evaluation.intervals import LEAST_DOCUMENTS, Bootstrap, resampling_unit


def test_documents_are_resampled_whole_with_numerator_and_denominator_together():
    """Against drawing whole documents one by one."""
    documents = np.array([7, 7, 7, 9, 9, 12, 12, 40])
    rng = np.random.default_rng(1)
    top, bottom = rng.normal(3, 1, 8), rng.uniform(2, 4, 8)
    bootstrap = Bootstrap(documents, "documents", resamples=20_000)
    assert (bootstrap.resample, bootstrap.units) == ("documents", 4)
    ratios = []
    for drawn in rng.choice([7, 9, 12, 40], (20_000, 3)):
        chosen = np.concatenate([np.nonzero(documents == document)[0] for document in drawn])
        ratios.append(top[chosen].sum() / bottom[chosen].sum())
    value, interval = bootstrap.ratio(top, bottom)
    assert value == pytest.approx(top.sum() / bottom.sum())
    stretch = t.ppf(0.975, 3) / norm.ppf(0.975)
    expected = value + stretch * (np.quantile(ratios, [0.025, 0.975]) - value)
    assert interval == pytest.approx(tuple(expected), abs=0.03)


def covered(resample, documents, trials=300):
    """How often the interval of a mean holds the truth, 0: contexts of a document share half of their variance."""
    rng = np.random.default_rng(0)
    of = np.repeat(np.arange(documents), 5)
    hits = 0
    for seed in range(trials):
        values = rng.normal(size=documents)[of] + rng.normal(size=of.size)
        low, high = Bootstrap(of, resample, resamples=400, seed=seed).mean(values, np.ones(of.size))[1]
        hits += low <= 0 <= high
    return hits / trials


@pytest.mark.parametrize("documents", [LEAST_DOCUMENTS, 40])
def test_documents_cover_what_contexts_miss(documents):
    assert covered("documents", documents) >= 0.915  # 95 % within three standard errors of 300 trials
    assert covered("contexts", documents) < 0.85


def test_contexts_cover_where_they_are_independent():
    rng = np.random.default_rng(3)
    hits = 0
    for seed in range(300):
        values, counts = rng.exponential(size=60), rng.integers(1, 9, 60)
        low, high = Bootstrap(np.zeros(60), "contexts", resamples=400, seed=seed).mean(values * counts, counts)[1]
        hits += low <= 1 <= high
    assert 0.9 <= hits / 300 <= 0.985


def test_the_unit_is_documents_where_there_are_enough():
    few, enough = np.repeat(np.arange(LEAST_DOCUMENTS - 1), 3), np.repeat(np.arange(LEAST_DOCUMENTS), 3)
    assert resampling_unit(few) == "contexts"
    assert resampling_unit(enough) == "documents"
    assert Bootstrap(few).units == few.size
    assert Bootstrap(enough).units == LEAST_DOCUMENTS
    assert Bootstrap(few, "documents").units == LEAST_DOCUMENTS - 1


def test_a_ratio_without_a_clear_denominator_is_undefined():
    bootstrap = Bootstrap(np.arange(6))
    assert bootstrap.ratio(np.ones(6), np.array([1.0, -1, 1, -1, 1, -1])) == (None, None)
    assert bootstrap.ratio(np.ones(6), np.array([9.0, -1, -1, -1, -1, -1])) == (None, None)
    assert bootstrap.ratio(np.ones(6), -np.ones(6)) == (None, None)
    value, interval = bootstrap.ratio(np.ones(6), np.full(6, 2.0))
    assert value == 0.5
    assert interval == pytest.approx((0.5, 0.5))


def test_a_single_unit_has_no_interval():
    alone = Bootstrap(np.zeros(3), "documents")
    assert alone.mean([1, 2, 3], [1, 1, 1]) == (2, None)
    assert alone.ratio([1, 2, 3], [1, 1, 1]) == (2, None)


def test_units_without_a_count_leave_no_interval_where_a_resample_could_be_empty():
    counts = np.array([4.0, 0, 0])
    assert Bootstrap(np.arange(3)).mean([8.0, 0, 0], counts) == (2, None)


def test_one_seed_one_result():
    values, counts = np.arange(20.0), np.ones(20)
    first, again, other = (Bootstrap(np.arange(20), seed=seed).mean(values, counts)[1] for seed in (1, 1, 2))
    assert first == again != other


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Bootstrap([]), "documents = of shape"),
        (lambda: Bootstrap([[1], [2]]), "documents = of shape"),
        (lambda: Bootstrap([1, 2], "tokens"), "resample = 'tokens': must be one of documents, contexts"),
        (lambda: Bootstrap([1, 2], resamples=9), "resamples = 9"),
        (lambda: Bootstrap([1, 2], seed=-1), "seed = -1"),
        (lambda: Bootstrap([1, 2]).mean([1.0], [1.0]), "values = of shape"),
    ],
)
def test_bad_arguments(build, message):
    with pytest.raises(InvalidArgument, match=message):
        build()
