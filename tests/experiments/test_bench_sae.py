"""The SAE benchmarks at a tiny size: they compare what they time, and say so where answers differ."""

from dataclasses import replace

import pytest
import torch

from expander_theory import InvalidArgument
from expander_theory.results.ledger import read_ledger
from experiments.bench import sae, sae_cuda, sae_peers
from experiments.bench.machine import Rates
from experiments.bench.sae import SAEBenchmark, parts
from experiments.bench.sae_cuda import SAECudaBenchmark
from experiments.bench.sae_peers import (
    CONTENDERS,
    CPU,
    Dense,
    Ours,
    OursMatchingPursuit,
    OursOMP,
    Size,
    answers_apart,
    pursuit_faults,
)

SIZE = Size(24, 64, 4, 3, 0.01)
RATES = Rates((1 << 15, 1 << 20, 1 << 24), (1e10,) * 4, 1e9, 1e9, {"float32": 1e10})
X = torch.randn(300, 24, generator=torch.Generator().manual_seed(0))


class Wrong(Dense):
    name = "wrong"

    def gradient(self, x):
        out, gradient = super().gradient(x)
        return out, 1.01 * gradient


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    """Tiny sizes, rates that are not measured, and the threads as they were."""
    for name in ("small", "wide", "small-pursuit"):
        monkeypatch.setitem(sae.SIZES, name, SIZE)
    monkeypatch.setattr(sae, "measure_rates", lambda: RATES)
    monkeypatch.setattr(sae_cuda, "copy_rate", lambda device: 1e10)
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def test_every_installed_contender_starts_alike():
    kinds = [kind for kind in CONTENDERS if kind.installed()]
    assert kinds[:2] == [Ours, Dense]
    assert answers_apart(kinds, SIZE, X, 0, CPU) == []


def test_other_answers_are_found():
    (fault,) = answers_apart([Wrong], SIZE, X, 0, CPU)
    assert "wrong, gradient by 1.0e-02 of its norm" in fault


def test_the_bytes_of_the_parts():
    found = {part.name: part for part in parts(SIZE, Ours(SIZE, X, 0), X, RATES)}
    assert found["encode"].gathered == -(-300 * 4 // 64) * 64 * 3 * 64
    assert all(part.limit > 0 for part in found.values())


def test_the_command_writes_its_numbers(tmp_path, capsys):
    benchmark = SAEBenchmark(sizes=("small", "wide"), repeats=2, batch=64, threads=1, out=tmp_path / "b.jsonl")
    benchmark.run()
    text = capsys.readouterr().out
    assert "Answers agree" in text
    assert "ratio of times (goal 0.01)" in text
    assert "ratio of memory (goal 0.01)" in text
    identity, (steps, memory) = read_ledger(tmp_path / "b.jsonl")
    assert identity["batch"] == 64
    timed = {one["name"]: one for one in steps["measured"]}
    assert set(timed) == {kind.name for kind in CONTENDERS if kind.installed()}
    assert all(len(one["seconds"]["step"]) == 2 and one["batch"] == 64 for one in timed.values())
    assert [one["name"] for one in memory["measured"]] == [Ours.name, Dense.name]
    assert all(len(one["seconds"]["step"]) == 1 for one in memory["measured"])
    assert steps["parts"]
    with pytest.raises(InvalidArgument, match="batch = 0"):
        replace(benchmark, batch=0).run()


def test_pursuits_take_their_own_steps(tmp_path, capsys, monkeypatch):
    """OMP beside TopK on the whole batch and beside matching pursuit on few tokens, whose error is no smaller."""
    SAEBenchmark(sizes=("small-pursuit",), repeats=2, batch=64, threads=1, out=tmp_path / "b.jsonl").run()
    text = capsys.readouterr().out
    assert "Answers agree" in text
    assert "goal at most 2: " in text
    _, (record,) = read_ledger(tmp_path / "b.jsonl")
    batches = {one["name"]: one["batch"] for one in record["measured"]}
    assert batches.pop("SAELens matching pursuit, few tokens", 4) == 4
    assert batches == {"ours": 64, "ours, OMP": 64, "ours, OMP, few tokens": 4, "ours, matching pursuit, few tokens": 4}
    assert OursOMP(SIZE, X, 0).training_run.sae.encoding == "omp"
    assert OursMatchingPursuit(SIZE, X, 0).training_run.sae.pursuit_steps == SIZE.k
    assert pursuit_faults(SIZE, X, 0) == []
    monkeypatch.setattr(sae_peers, "OursOMP", Ours)
    (fault,) = pursuit_faults(SIZE, X, 0)
    assert "OMP leaves" in fault


def test_the_gpu_benchmark_runs_on_a_cpu(monkeypatch, capsys):
    benchmark = SAECudaBenchmark(sizes=("small",), batch=64, repeats=1, device="cpu", compiled=False)
    benchmark.run()
    assert "Answers agree" in capsys.readouterr().out
    monkeypatch.setattr(sae_cuda, "Dense", Wrong)
    with pytest.raises(SystemExit, match="gradient by"):
        benchmark.run()
