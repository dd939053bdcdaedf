"""The driver of the benchmarks: turns, fixed batches, times, memory, resumption."""

import numpy as np
import pytest

from expander_theory.base.errors import InvalidFile
from expander_theory.results.ledger import read_ledger
from experiments.bench.command import Case, measure_cases
from experiments.bench.driver import Contender, Measured, fastest, measure, peak_bytes


class Clock:
    """Time that passes only when a call lets it."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now

    def call(self, seconds, log=None, name=None):
        def work():
            self.now += seconds
            if log is not None:
                log.append(name)
            return name

        return work


def test_contenders_take_turns_and_the_first_pass_is_not_timed():
    clock, log, speeds = Clock(), [], iter([9.0, 1.0, 3.0, 2.0])

    def uneven():
        clock.now += next(speeds)
        log.append("a")
        return "answer"

    one = Contender("a", 10, lambda: {"part": uneven}, answer=str.upper)
    other = Contender("b", 5, lambda: {"x": clock.call(1.0, log, "b"), "y": clock.call(2.0, log, "c")})
    (a, b), answers = measure([one, other], 3, clock=clock)
    assert log == ["a", "b", "c"] * 4
    assert (a.batch, a.seconds, a.peak) == (10, {"part": [1.0, 3.0, 2.0]}, 0)
    assert b.seconds == {"x": [1.0] * 3, "y": [2.0] * 3}
    assert (a.least("part"), a.quartiles("part")) == (1.0, (1.5, 2.0, 2.5))
    assert answers == {"a": "ANSWER", "b": None}


@pytest.mark.parametrize(
    ("options", "prepared", "calls"),
    [({}, 1, 3), ({"fresh": True}, 3, 3), ({"warm": True}, 2, 4), ({"once": True}, 1, 1)],
)
def test_how_often_a_contender_is_prepared_and_called(options, prepared, calls):
    clock, log, built = Clock(), [], []

    def prepare():
        built.append(clock.now)
        clock.now += 100.0  # is not timed
        return {"part": clock.call(1.0, log)}

    (found,), _ = measure([Contender("a", 1, prepare, **options)], 2, clock=clock)
    assert (len(built), len(log)) == (prepared, calls)
    assert found.seconds["part"] == ([1.0] if options.get("once") else [1.0, 1.0])


def test_loops_of_short_calls_are_calibrated_once_and_then_fixed():
    clock, log = Clock(), []
    (found,), _ = measure([Contender("a", 1, lambda: {"part": clock.call(0.125, log)})], 3, clock=clock, shortest=1.0)
    assert found.seconds["part"] == [0.125] * 3
    assert len(log) == 1 + 4 + 16 + 3 * 16
    assert fastest({"x": clock.call(0.5), "y": clock.call(2.0)}, clock=clock) == {"x": 0.5, "y": 2.0}


def test_memory_counts_what_is_prepared_and_what_is_called():
    def prepare():
        kept = np.ones(30 << 20, np.uint8)
        return {"part": lambda: np.ones(50 << 20, np.uint8).sum() + kept[0]}

    (found,), _ = measure([Contender("a", 1, prepare)], 1, peak=peak_bytes)
    assert found.peak == pytest.approx(80 << 20, rel=0.1)


def test_memory_of_a_call_is_its_peak_even_after_a_larger_call():
    def allocate(count):
        np.ones(count << 20, np.uint8).sum()

    assert peak_bytes(lambda: allocate(200)) == pytest.approx(200 << 20, rel=0.05)
    assert peak_bytes(lambda: allocate(50)) == pytest.approx(50 << 20, rel=0.1)
    assert peak_bytes(lambda: None) < 1 << 20


def test_an_interrupted_run_goes_on_where_it_stopped(tmp_path):
    path, measured = tmp_path / "ledger.jsonl", []

    def case(size, error=None):
        def work():
            measured.append(size)
            if error:
                raise error
            return {"seconds": 1.0}

        return Case({"size": size}, work)

    with pytest.raises(KeyboardInterrupt):
        measure_cases([case(1), case(2, KeyboardInterrupt())], path, {"kind": "test"}, name="test")
    shown = []
    found = measure_cases([case(1), case(2)], path, {"kind": "test"}, name="test", show=lambda r: shown.append(r) or "")
    assert measured == [1, 2, 2]
    assert found == shown == read_ledger(path)[1] == [{"size": size, "seconds": 1.0} for size in (1, 2)]
    with pytest.raises(InvalidFile, match="another experiment"):
        measure_cases([], path, {"kind": "other"}, name="test")
    assert measure_cases([case(3)], None, {}, name="test") == [{"size": 3, "seconds": 1.0}]


def test_quartiles_of_what_a_ledger_held():
    stored = {"name": "a", "batch": 3, "seconds": {"part": [4.0, 1.0, 3.0, 2.0, 5.0]}, "peak": 7}
    assert Measured(**stored).quartiles("part") == (2.0, 3.0, 4.0)
