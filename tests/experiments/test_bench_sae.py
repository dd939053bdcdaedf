"""The SAE benchmarks at a tiny size: they compare what they time, and say so where answers differ."""

import pytest
import torch

from expander_theory import InvalidArgument
from expander_theory.results.ledger import read_ledger
from experiments import bench_sae, bench_sae_cuda
from experiments.bench import sae_report
from experiments.bench.machine import Rates
from experiments.bench.sae_peers import CONTENDERS, Dense, Ours, Size

SIZE = Size(24, 64, 4, 3, 0.01)
RATES = Rates((1 << 15, 1 << 20, 1 << 24), (1e10,) * 4, 1e9, 1e9, {"float32": 1e10})
X = torch.randn(300, 24, generator=torch.Generator().manual_seed(0))


class Wrong(Dense):
    name = "wrong"

    def gradient(self, x):
        out, gradient = super().gradient(x)
        return out, 1.01 * gradient


def test_every_installed_contender_starts_alike_and_is_timed(capsys):
    records = []
    assert sae_report.compare_steps(SIZE, X, 1, 0, RATES, records.append) == []
    text = capsys.readouterr().out
    for kind in CONTENDERS:
        assert kind.name in text
    timed = {record["contender"]: record for record in records if "contender" in record}
    assert set(timed) >= {Ours.name, Dense.name}
    assert all(record["seconds"] > 0 for record in timed.values())
    parts = {record["name"]: record for record in records if "streamed" in record}
    assert parts["encode"]["gathered"] == -(-300 * 4 // 64) * 64 * 3 * 64
    assert all(part["limit"] > 0 for part in parts.values())


def test_other_answers_are_found(monkeypatch):
    monkeypatch.setattr(sae_report, "CONTENDERS", (Ours, Wrong))
    (fault,) = sae_report.compare_steps(SIZE, X, 1, 0, RATES, lambda _: None)
    assert "wrong, gradient by 1.0e-02 of its norm" in fault


def test_memory_is_compared(capsys):
    records = []
    sae_report.compare_memory(SIZE, X, 0, records.append)
    assert [record["contender"] for record in records] == [Ours.name, Dense.name]
    assert "ratio of memory" in capsys.readouterr().out


def test_the_command_writes_its_numbers(tmp_path, capsys):
    threads = torch.get_num_threads()
    try:
        bench_sae.Benchmark(sizes=("small",), repeats=1, batch=64, threads=1, out=tmp_path / "b.jsonl").run()
    finally:
        torch.set_num_threads(threads)
    assert "Reconstructions and gradients agree." in capsys.readouterr().out
    identity, records = read_ledger(tmp_path / "b.jsonl")
    assert identity["batch"] == 64
    assert any(record.get("contender") == "ours" for record in records)
    with pytest.raises(InvalidArgument, match="batch = 0"):
        bench_sae.Benchmark(batch=0).run()


def test_the_gpu_benchmark_runs_on_a_cpu(monkeypatch, capsys):
    monkeypatch.setattr(bench_sae_cuda, "SIZES", {"small": SIZE})
    monkeypatch.setattr(bench_sae_cuda, "_copy_rate", lambda device: 1e10)
    benchmark = bench_sae_cuda.Benchmark(("small",), batch=64, repeats=1, device="cpu", compiled=False)
    benchmark.run()
    assert "gradients agree" in capsys.readouterr().out
    monkeypatch.setattr(bench_sae_cuda, "Dense", Wrong)
    with pytest.raises(SystemExit, match="gradient by"):
        benchmark.run()
