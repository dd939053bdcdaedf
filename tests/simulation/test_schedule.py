import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, strategies as st
from scipy.special import expit
from scipy.stats import binom

from expander_theory import InvalidArgument
from expander_theory.simulation.schedules._bracket import Evidence
from expander_theory.simulation.schedules.schedule import FindBoundary, FitBoundary, FixedTrials, Ladder, ResolveCells
from expander_theory.simulation.trials import Ensemble, Task
from expander_theory.statistics.boundary import fit_boundary
from expander_theory.statistics.confidence_sequence import confidence_sequence

TASK = Task(Ensemble("uniform", 200, 400, 4), 1)
FINE = Ladder(TASK, tuple(range(1, 121)))


def simulate(schedule, ladder, rate, seed=0):
    """What a schedule sees in the end, its rounds, and whether all that it stated on the way was consistent."""
    rng = np.random.default_rng(seed)
    seen: dict[int, list[str]] = {k: [] for k in ladder.ks}
    rounds = []
    while True:
        before = {k: len(blocks) for k, blocks in seen.items()}
        wanted = schedule.wanted(ladder, seen)
        assert set(wanted) <= set(ladder.ks)
        assert all(wanted.get(k, 0) >= count for k, count in before.items())
        if all(wanted.get(k, 0) == count for k, count in before.items()):
            return seen, rounds
        for k, count in wanted.items():
            for _ in range(count - before[k]):
                seen[k].append("".join("01"[int(u < rate(k))] for u in rng.random(ladder.base.block_size)))
        rounds.append({k: count - before[k] for k, count in wanted.items() if count > before[k]})
        assert len(rounds) < 200


def logistic(centre, slope):
    return lambda k: float(expit(slope * (centre - k)))


def trials(seen):
    return sum(len(block) for blocks in seen.values() for block in blocks)


SCHEDULES = [FixedTrials(60), ResolveCells(0.1, 300), FindBoundary(0.02), FitBoundary(0.02)]


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: type(s).__name__)
def test_decisions_depend_on_outcomes_alone(schedule):
    ladder = replace(FINE, ks=FINE.ks[::10])
    seen, rounds = simulate(schedule, ladder, logistic(50, 0.2))
    assert (seen, rounds) == simulate(schedule, ladder, logistic(50, 0.2))
    shuffled = dict(reversed(list(seen.items())))
    assert schedule.wanted(ladder, shuffled) == schedule.wanted(ladder, {k: tuple(v) for k, v in seen.items()})
    most = schedule.most(ladder)
    assert all(len(blocks) <= most[k] for k, blocks in seen.items())


def test_fixed_trials_round_up_to_whole_blocks_in_one_round():
    seen, rounds = simulate(FixedTrials(60), replace(FINE, ks=(1, 5)), logistic(3, 1))
    assert rounds == [{1: 3, 5: 3}]
    assert trials(seen) == 150


def test_cells_are_resolved_as_far_as_asked():
    schedule, ladder = ResolveCells(0.08, 1000), replace(FINE, ks=(10, 40, 50, 60, 90))
    seen, rounds = simulate(schedule, ladder, logistic(50, 0.1))
    for k in ladder.ks:
        outcome = "".join(seen[k])
        interval = schedule.interval(ladder, seen[k])
        assert interval == tuple(map(float, confidence_sequence(outcome.count("1"), len(outcome))))
        assert interval[1] - interval[0] <= 0.16
    assert len(seen[10]) < len(seen[50])
    assert len(rounds) < 10


def test_a_cell_without_end_stops_at_its_budget():
    seen, _ = simulate(ResolveCells(0.01, 210), replace(FINE, ks=(50,)), lambda k: 0.5)
    assert trials(seen) == 225


def test_cells_beyond_one_half_can_stop_early():
    ladder = replace(FINE, ks=(45, 50))
    rate = {45: 0.8, 50: 0.5}.get
    long, _ = simulate(ResolveCells(0.06, 2000), ladder, rate)
    short, _ = simulate(ResolveCells(0.06, 2000, beyond=0.1), ladder, rate)
    assert len(short[45]) < len(long[45])
    low, _ = ResolveCells(0.06, 2000).interval(ladder, short[45])
    assert low > 0.6
    assert short[50] == long[50] or len(short[50]) > len(short[45])


def test_shared_dictionaries_are_the_unit():
    """All signals of a dictionary agreeing, 250 trials are 10 values."""
    shared = Ladder(replace(TASK, signals_per_dictionary=25), (50,))
    blocks = ["1" * 25, "0" * 25] * 5
    schedule = ResolveCells(0.1, 1000)
    assert shared.values(blocks) == pytest.approx([1, 0] * 5)
    assert np.subtract(*schedule.interval(shared, blocks)) < -0.55
    alone = replace(FINE, ks=(50,))
    assert np.subtract(*schedule.interval(alone, blocks)) > -0.22
    fixed = Ladder(replace(TASK, dictionaries="fixed"), (50,))
    assert schedule.interval(fixed, blocks) == schedule.interval(alone, blocks)
    three = Ladder(replace(TASK, signals_per_dictionary=3), (50,))
    assert three.base.block_size == 27
    assert three.values(["110" * 9]) == pytest.approx([2 / 3] * 9)


# ---- the boundary


@pytest.mark.parametrize("slope", [0.15, 0.5, 3.0, 100.0])
def test_the_bracket_is_narrow_and_holds(slope):
    schedule = FindBoundary(0.02, 20_000)
    for seed in range(8):
        centre = 30 + 5.37 * seed
        seen, rounds = simulate(schedule, FINE, logistic(centre, slope), seed)
        found = schedule.bracket(FINE, seen)
        assert found.status == "resolved"
        assert found.low_k < centre < found.high_k
        assert found.high_k - found.low_k <= 8
        assert found.trials == trials(seen)
        assert len(rounds) < 40
        assert trials(seen) < (200 if slope > 1 else 4000)


@pytest.mark.parametrize("rate", [0.5, 0.35])
def test_a_rate_near_one_half_at_a_cell_does_not_hold_the_search_up(rate):
    """The cell at 50 is never decided, or hardly; its neighbours are."""
    curve = {49: 0.9, 50: rate, 51: 0.1}
    schedule = FindBoundary(0.001, 3000)
    seen, _ = simulate(schedule, FINE, lambda k: curve.get(k, float(k < 50)))
    found = schedule.bracket(FINE, seen)
    assert found.status in ("grid", "resolved")
    assert found.low_k == 49
    assert found.high_k in (50, 51)
    assert found.trials < 400


def test_one_sided_columns_end_early():
    schedule = FindBoundary(0.01)
    for rate, status in ((0.97, "all_succeed"), (0.02, "all_fail")):
        seen, _ = simulate(schedule, FINE, lambda k, rate=rate: rate)
        found = schedule.bracket(FINE, seen)
        assert found.status == status
        assert (found.low_k, found.high_k) == ((120, None) if status == "all_succeed" else (None, 1))
        assert found.trials <= 500


def test_a_column_of_one_k_is_one_sided_or_out_of_trials():
    ladder, schedule = replace(FINE, ks=(50,)), FindBoundary(0.01, 500)
    seen, _ = simulate(schedule, ladder, lambda k: 0.9)
    assert schedule.bracket(ladder, seen).status == "all_succeed"
    seen, _ = simulate(schedule, ladder, lambda k: 0.5)
    assert schedule.bracket(ladder, seen).status == "exhausted"


def test_the_budget_is_kept_and_said():
    schedule = FindBoundary(0.0005, 1010)
    seen, _ = simulate(schedule, FINE, logistic(50, 0.02))
    found = schedule.bracket(FINE, seen)
    assert found.status == "exhausted"
    assert found.trials == trials(seen) == 1025
    assert schedule.bracket(FINE, {}).status == "open"
    assert (schedule.bracket(FINE, {}).low_k, schedule.bracket(FINE, {}).high_k) == (None, None)


def test_a_rate_that_rises_is_noticed():
    schedule = FindBoundary(0.01)
    found = schedule.bracket(FINE, {20: ["0" * 25] * 4, 80: ["1" * 25] * 4})
    assert found.status == "not_decreasing"
    assert schedule.wanted(FINE, {20: ["0" * 25] * 4, 80: ["1" * 25] * 4}) == {20: 4, 80: 4}


def test_a_coarse_grid_is_bracketed_by_neighbours_but_one():
    ladder = replace(FINE, ks=(10, 30, 50, 70, 90))
    schedule = FindBoundary(0.001)
    seen, _ = simulate(schedule, ladder, logistic(50, 0.3))
    found = schedule.bracket(ladder, seen)
    assert found.status == "grid"
    assert (found.low_k, found.high_k) == (30, 70)


@given(st.lists(st.integers(0, 1), min_size=1, max_size=12), st.data())
def test_capital_is_the_product_over_cells(bits, data):
    """Against a slow computation, one place of the boundary and one trial at a time."""
    other = data.draw(st.lists(st.integers(0, 1), min_size=1, max_size=12))
    task = replace(TASK, dictionaries="cell")
    ladder = Ladder(task, (5, 6, 7, 8))
    found = Evidence.of(ladder, {6: ["".join(map(str, bits))], 8: ["".join(map(str, other))], 5: []})
    assert found.places.tolist() == [1, 3]
    expected = []
    for place in range(3):  # below 6, between 6 and 8, above 8
        capital = 1.0
        for cell, outcomes in enumerate((bits, other)):
            null = 1 if cell < place else -1  # rate at least 1/2 below the boundary, at most 1/2 above
            total = count = 0
            for bit in outcomes:
                bet = max(0.0, -null * total / (50 + count))
                capital *= 1 - null * bet * (2 * bit - 1)
                total, count = total + 2 * bit - 1, count + 1
        expected.append(math.log(capital))
    assert found.capital == pytest.approx(expected, abs=1e-12)


def test_the_capital_against_the_truth_is_a_supermartingale():
    """Mean over all 2^10 outcomes of two cells on the right sides of the boundary is at most 1, at any rates."""
    ladder = Ladder(replace(TASK, dictionaries="fixed"), (5, 8))
    for low_rate, high_rate in ((0.5, 0.5), (0.7, 0.4), (1.0, 0.0)):
        mean = 0.0
        for code in range(2**10):
            text = f"{code:010b}"
            ones = text[:5].count("1"), text[5:].count("1")
            weight = low_rate ** ones[0] * (1 - low_rate) ** (5 - ones[0])
            weight *= high_rate ** ones[1] * (1 - high_rate) ** (5 - ones[1])
            mean += weight * math.exp(Evidence.of(ladder, {5: [text[:5]], 8: [text[5:]]}).capital[1])
        assert mean <= 1 + 1e-12


def test_the_bracket_holds_at_all_looks_as_often_as_stated():
    """Peeked at after each block where the true rate is 1/2 at several cells: the worst case."""
    rng, schedule, held = np.random.default_rng(0), FindBoundary(0.001, 10**6), 0
    ladder = replace(FINE, ks=tuple(range(40, 61, 5)))
    for _ in range(150):
        seen = {k: [] for k in ladder.ks}
        valid = True
        for step in range(60):
            k = ladder.ks[step % 5]
            rate = 0.5 if k <= 50 else 0.4
            seen[k].append("".join("01"[int(u < rate)] for u in rng.random(25)))
            found = schedule.bracket(ladder, seen)
            valid &= found.status != "not_decreasing" and (found.high_k is None or found.high_k > 50)
        held += valid
    assert held >= binom.ppf(0.001, 150, 0.95)


def test_clusters_count_as_dictionaries_in_the_bracket():
    schedule = FindBoundary(0.01)
    blocks = {40: ["1" * 25] * 2, 60: ["0" * 25] * 2}
    assert schedule.bracket(replace(FINE, ks=(40, 60)), blocks).low_k == 40
    shared = Ladder(replace(TASK, signals_per_dictionary=25), (40, 60))
    assert schedule.bracket(shared, blocks).low_k is None


def test_the_fit_is_as_sharp_as_asked_with_fewer_trials():
    find, fit = FindBoundary(0.01, 20_000), FitBoundary(0.01, 20_000)
    fewer = 0
    for seed in range(6):
        centre = 35 + 4.3 * seed
        seen, _ = simulate(fit, FINE, logistic(centre, 0.2), seed)
        found = fit.boundary(FINE, seen)
        assert found.high - found.low <= 0.02 * (1 + 1e-6)
        bracketed, _ = simulate(find, FINE, logistic(centre, 0.2), seed)
        fewer += trials(seen) < trials(bracketed) / 2
    assert fewer == 6


@pytest.mark.parametrize("centre", [49.5, 50.0])
def test_a_cliff_is_fitted_to_its_cells_at_once(centre):
    schedule = FitBoundary(0.0001, 5000)
    seen, _ = simulate(schedule, FINE, logistic(centre, 1000))
    found = schedule.boundary(FINE, seen)
    assert found.low <= centre / 200 <= found.high
    assert found.high - found.low <= 2.5 / 200
    assert trials(seen) < 600


def test_the_fit_takes_half_the_allowed_error():
    seen = {40: ["1" * 24 + "0"] * 2, 50: ["1" * 11 + "0" * 14] * 2, 60: ["0" * 24 + "1"] * 2}
    expected = fit_boundary([0.2, 0.25, 0.3], [48, 22, 2], [50] * 3, level=0.975)
    assert FitBoundary(0.01).boundary(FINE, seen) == expected
    assert FitBoundary(0.01).boundary(FINE, {40: ["1" * 25]}) is None


def test_the_fit_refuses_correlated_trials():
    ladder = Ladder(replace(TASK, signals_per_dictionary=5), FINE.ks)
    with pytest.raises(InvalidArgument, match="signals_per_dictionary"):
        FitBoundary(0.01).wanted(ladder, {})


@pytest.mark.parametrize("rate", [0.97, 0.02])
def test_the_fit_ends_early_on_one_sided_ladders(rate):
    seen, _ = simulate(FitBoundary(0.01), FINE, lambda k: rate)
    assert trials(seen) <= 500


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda: Ladder(TASK, ()), "ks"),
        (lambda: Ladder(TASK, (3, 3)), "ks"),
        (lambda: Ladder(TASK, (4, 3)), "ks"),
        (lambda: Ladder(TASK, (1.5,)), "ks"),
        (lambda: FixedTrials(0), "trials"),
        (lambda: FixedTrials(2.5), "trials"),
        (lambda: ResolveCells(0.0), "half_width"),
        (lambda: ResolveCells(0.1, 0), "max_trials"),
        (lambda: ResolveCells(0.1, beyond=0.5), "beyond"),
        (lambda: ResolveCells(0.1, level=1.0), "level"),
        (lambda: FindBoundary(0.0), "resolution"),
        (lambda: FindBoundary(math.nan), "resolution"),
        (lambda: FindBoundary(0.1, 0), "max_trials"),
        (lambda: FitBoundary(0.1, level=0.0), "level"),
    ],
)
def test_bad_arguments_are_named(call, name):
    with pytest.raises(InvalidArgument) as caught:
        call()
    assert caught.value.name == name


def test_a_column_names_its_tasks():
    assert FINE.task(7) == replace(TASK, k=7)
    with pytest.raises(InvalidArgument, match="k"):
        FINE.task(500)
