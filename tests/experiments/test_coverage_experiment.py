"""Coverage at a small scale: every stated interval, resume, and that a method known to fail is seen to fail."""

import numpy as np
import pytest
from scipy.stats import binom

from expander_theory import InvalidArgument
from expander_theory.results.ledger import Ledger, read_ledger
from experiments.theory import coverage
from experiments.theory.coverage import REQUIRED, SCENARIOS, Coverage, Scenario, coverage_rows, measure, trial_rows

SMALL = {
    "gentle": Scenario(64, tuple(range(1, 40)), slope=30),
    "separated": Scenario(64, tuple(range(1, 40)), slope=100_000),
    "dictionaries vary": Scenario(128, tuple(range(1, 77)), 30, spread=0.05, signals=5, trials=50, resolution=0.03),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("coverage")
    with Ledger(out / "ledger.jsonl", {"kind": "test"}) as ledger:
        measure(SMALL, 100, 0, ledger, show=False)
    return out


def test_every_stated_interval_holds_as_often_as_required(folder):
    rows = coverage_rows(read_ledger(folder / "ledger.jsonl")[1])
    assert len({row["95 % interval"] for row in rows}) == 9
    for row in rows:
        held = round(float(row["held"].rstrip("%")) / 100 * row["stated"])
        assert row["stated"] >= 80
        assert held >= binom.ppf(1e-3, row["stated"], REQUIRED), row


def test_looking_for_the_boundary_takes_fewer_trials(folder):
    gentle, separated, varying = trial_rows(read_ledger(folder / "ledger.jsonl")[1])
    assert separated["FindBoundary"] < separated["fixed trials"] / 3
    assert gentle["FitBoundary"] < gentle["fixed trials"]
    assert varying["FitBoundary"] is None


def test_a_second_run_resumes_and_adds(folder, tmp_path):
    before = (folder / "ledger.jsonl").read_bytes()
    with Ledger(folder / "ledger.jsonl", {"kind": "test"}) as ledger:
        measure(SMALL, 100, 0, ledger, show=False)
    assert (folder / "ledger.jsonl").read_bytes() == before
    with Ledger(tmp_path / "ledger.jsonl", {"kind": "test"}) as ledger:
        measure({"gentle": SMALL["gentle"]}, 50, 0, ledger, show=False)
        measure({"gentle": SMALL["gentle"]}, 51, 0, ledger, show=False)
        again = [record for record in read_ledger(folder / "ledger.jsonl")[1] if record.scenario == "gentle"]
        assert ledger.records == again


@pytest.mark.parametrize("name", SCENARIOS)
def test_curves_are_one_half_at_the_centre_and_blocks_follow_them(name):
    scenario, rng = SCENARIOS[name], np.random.default_rng(0)
    k = scenario.coarse.ks[4]
    centre = k / scenario.m
    assert scenario.rate(k, centre) == pytest.approx(0.5, abs=1e-6)
    assert scenario.rate(scenario.ks[0], 0.4) > 0.5 > scenario.rate(scenario.ks[-1], 0.4)
    if scenario.spread == 0:
        step = 1e-3 / scenario.slope
        slope = (scenario.rate(k, centre + step) - scenario.rate(k, centre - step)) / (2 * step)
        assert 4 * slope == pytest.approx(scenario.slope, rel=1e-3)
    blocks = [scenario.block(k, centre + 0.5 / scenario.slope, rng) for _ in range(200)]
    assert {len(block) for block in blocks} == {scenario.ladder.base.block_size}
    rate = "".join(blocks).count("1") / (200 * scenario.ladder.base.block_size)
    assert rate == pytest.approx(scenario.rate(k, centre + 0.5 / scenario.slope), abs=0.08)


def test_an_interval_that_fails_is_seen_to_fail(monkeypatch, tmp_path):
    """Half the profile interval."""
    real = coverage.fit_boundary

    def narrow(*counts):
        fit = real(*counts)
        half = (fit.high - fit.low) / 4
        return type(fit)(fit.status, fit.centre, fit.centre - half, fit.centre + half, fit.slope)

    monkeypatch.setattr(coverage, "fit_boundary", narrow)
    with Ledger(tmp_path / "ledger.jsonl", {"kind": "test"}) as ledger:
        measure({"gentle": SMALL["gentle"]}, 50, 0, ledger, show=False)
        rows = coverage_rows(ledger.records)
    verdicts = {row["95 % interval"]: row["at least 94%"] for row in rows}
    assert verdicts["logistic interval at fixed trials"] == "NO"
    assert verdicts["bracket at all looks"] == "yes"


def test_the_command_prints_both_tables(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(coverage, "SCENARIOS", {"separated": SMALL["separated"]})
    Coverage(sweeps=1, out=tmp_path).run()
    shown = capsys.readouterr().out
    assert "| bracket at all looks " in shown
    assert "trials of a column" in shown
    with pytest.raises(InvalidArgument, match="sweeps"):
        Coverage(sweeps=0, out=tmp_path).run()
