"""Two processes that hold half of the features each, against one that holds all."""

import json
import os
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from support.split_in_process import HOW, RUNS, TIES, tie_break
from support.streams import MemoryStream

from expander_theory import InvalidArgument, InvalidFile, load_dictionary
from expander_theory.results import Pieces, read_ledger, write_arrays, write_pieces
from sae_bridge.sae import TopKSAE, load_sae
from sae_bridge.training import Training, World, train
from sae_bridge.training.split import Part, split_cost
from sae_bridge.training.split.checkpoints import newest_whole, part_path

HERE = Path(__file__).parents[2] / "support"
FILES = ("cfg.json", "sae_weights.safetensors", "dictionary.safetensors")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """What two processes wrote; they are started once."""
    folder = tmp_path_factory.mktemp("split")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    of_both = {**os.environ, "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(HERE / "split_in_process.py"), str(folder)]
    processes = [
        subprocess.Popen(command, cwd=HERE, env={**of_both, "RANK": str(rank)}, stderr=subprocess.PIPE, text=True)
        for rank in range(2)
    ]
    try:
        errors = [process.communicate(timeout=240)[1] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0, 0], "\n".join(errors)
    train(RUNS, MemoryStream(), folder / "one", progress=False, log_every=5)
    return folder


def found(folder):
    return [json.loads((folder / f"found{rank}.json").read_text()) for rank in range(2)]


@pytest.mark.parametrize("name", RUNS)
def test_two_processes_give_the_sae_of_one(folder, name):
    """To the rounding of a sum of two parts, amplified by 40 steps; supports of all codes are the same."""
    (one, fields), (two, same) = (load_sae(folder / which / name) for which in ("one", "two"))
    assert fields == same
    for key, value in one.state_dict().items():
        torch.testing.assert_close(two.state_dict()[key], value, rtol=1e-5, atol=2e-6, msg=lambda m, k=key: f"{k}: {m}")
    h = MemoryStream().data
    (acts, indices), (others, places) = one.encode(h), two.encode(h)
    torch.testing.assert_close(one.decode(acts, indices), two.decode(others, places), rtol=1e-4, atol=1e-4)
    codes = [torch.zeros(len(h), one.n).scatter_add_(1, j, a) for a, j in ((acts, indices), (others, places))]
    assert torch.equal(codes[0] != 0, codes[1] != 0)


@pytest.mark.parametrize("name", RUNS)
def test_metrics_are_those_of_one_process(folder, name):
    """FVU, L0, dead features, and effective degree are of the whole SAE; AuxK has had features to revive."""
    alone, split = (read_ledger(folder / which / name / "metrics.jsonl")[1] for which in ("one", "two"))
    assert [r.step for r in alone] == [r.step for r in split if r.step in {a.step for a in alone}]
    by_step = {r.step: r for r in split}
    for record in alone:
        other = by_step[record.step]
        assert other.dead == record.dead
        for measure in ("fvu", "l0", "effective_degree"):
            assert getattr(other, measure) == pytest.approx(getattr(record, measure), rel=1e-5)
    assert max(record.dead for record in alone) > 0


@pytest.mark.parametrize("name", RUNS)
def test_the_files_are_those_that_one_process_would_write(folder, tmp_path, name):
    sae, fields = load_sae(folder / "two" / name)
    sae.save(tmp_path, fields)
    sae.dictionary().save(tmp_path / "dictionary.safetensors")
    for file in FILES:
        assert (tmp_path / file).read_bytes() == (folder / "two" / name / file).read_bytes()
    assert load_dictionary(folder / "two" / name / "dictionary.safetensors").n == sae.n
    left = sorted(path.name for path in (folder / "two" / name).iterdir() if not path.name.startswith("."))
    assert left == sorted([*FILES, "metrics.jsonl"])


def test_what_all_processes_have_stays_the_same_to_the_bit(folder):
    first, second = found(folder)
    assert first["b_dec"] == second["b_dec"]


@pytest.mark.parametrize("which", ["crashed", "stopped"])
def test_an_interrupted_run_goes_on_to_the_same_result(folder, which):
    """A crash goes back to the last checkpoint; a signal to one process alone ends both at one step, with one more."""
    step = {"crashed": 20, "stopped": 14}[which]
    for rank, here in enumerate(found(folder)):
        assert f"checkpoint.{step}.part{rank}of2.safetensors" in here[which]
    for name in ("tied", "batch"):
        for file in FILES[1:]:
            whole, interrupted = ((folder / place / name / file).read_bytes() for place in ("two", which))
            assert whole == interrupted


def test_ties_across_the_cut_are_broken_as_in_one_process(folder):
    sae = TopKSAE(32, TIES.n, TIES.k)
    with torch.no_grad():
        sae.weight.copy_(tie_break(32))
        x = MemoryStream().data[:20] + 40 * tie_break(32)[3]
        acts, indices = sae.code(x)
    expected = sorted([t, int(j)] for t in range(20) for a, j in zip(acts[t], indices[t], strict=True) if a != 0)
    assert sorted(pair for here in found(folder) for pair in here["ties"]) == expected
    assert {j for _, j in expected} == {3, 4, 6}  # of 3, 4, 6 and 8, which are the same


def test_bytes_are_those_of_the_cost_model(folder):
    cost = split_cost(2, m=32, n=128, d=4, k=2, batch=128)
    per_step = 128 * (cost.forward + cost.backward)
    assert cost.forward == 4 * 2 + 4 * 32
    for here in found(folder):
        assert here["sent"] == pytest.approx(3 * (per_step + 8))  # 8: the norm of the gradient


def test_parts_are_consecutive_and_equal_to_one():
    for n, size in ((64, 2), (65, 2), (10, 3), (3, 3)):
        parts = [Part(n, rank, size) for rank in range(size)]
        assert [p.first for p in parts] + [n] == [0] + [p.stop for p in parts]
        assert max(map(len, parts)) - min(map(len, parts)) <= 1
        assert parts[0].largest == max(map(len, parts))
    with pytest.raises(InvalidArgument, match="processes = 4: must be at most n = 3"):
        Part(3, 0, 4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"encoder": "omp"}, "encoder with features split = 'omp'"),
        ({"dense_columns": 2}, "dense_columns = 2: must be 0"),
        ({"supports": "random"}, "supports"),
        ({"revival": "resample"}, "revival"),
        ({"pursuit_steps": 2}, "pursuit_steps"),
        ({"mean_degree": 2.0}, "mean_degree"),
        ({"d": None, "rank": 3}, "rank"),
        ({"precision": "bfloat16"}, "precision"),
    ],
)
def test_what_is_not_split_is_refused_by_name(tmp_path, change, message):
    with pytest.raises(InvalidArgument, match=message):
        train({".": replace(HOW, **change)}, MemoryStream(), tmp_path, world=World(0, 2, "features"), progress=False)
    assert not any(tmp_path.iterdir())


def test_checkpoints_of_other_processes_are_refused_by_their_number(tmp_path):
    path = tmp_path / "checkpoint.safetensors"
    assert newest_whole(path, 3) is None
    for step, ranks in ((10, (0, 1, 2)), (20, (0, 2))):  # process 1 was killed before it wrote
        for rank in ranks:
            part_path(path, step, rank, 3).touch()
    assert newest_whole(path, 3) == 10
    with pytest.raises(InvalidFile, match="is of 3 processes, and here are 2"):
        newest_whole(path, 2)
    (tmp_path / "metrics.jsonl").touch()
    with pytest.raises(InvalidFile, match="was written by 3 processes with features split"):
        train({".": HOW}, MemoryStream(), tmp_path, progress=False)
    path.touch()
    with pytest.raises(InvalidFile, match="features are not split"):
        newest_whole(path, 3)


def test_one_process_splits_nothing(tmp_path):
    how = Training(d=4, n=32, k=4, steps=3)
    split = train({".": how}, MemoryStream(), tmp_path / "a", world=World(split="features"), progress=False)["."]
    whole = train({".": how}, MemoryStream(), tmp_path / "b", progress=False)["."]
    assert torch.equal(split.weight, whole.weight)


def test_pieces_make_the_file_of_the_whole(tmp_path):
    rng = np.random.default_rng(0)
    arrays = {
        "weight": rng.standard_normal((7, 3)).astype(np.float32),
        "a": rng.standard_normal((4, 2)),
        "rows": np.arange(21, dtype=np.int32).reshape(7, 3),
        "counts": np.arange(5),
        "scale": np.float32(2).reshape(()),
    }
    fields = {"m": 3, "recipe": "é"}
    write_arrays(tmp_path / "whole", "kind", 1, fields, arrays)
    pieces = {k: Pieces(v.dtype, v.shape, [v[:2], v[2:]] if v.ndim else [v]) for k, v in arrays.items()}
    write_pieces(tmp_path / "pieces", "kind", 1, fields, pieces)
    assert (tmp_path / "pieces").read_bytes() == (tmp_path / "whole").read_bytes()
    short = {"a": Pieces(np.dtype(np.float64), (4, 2), [arrays["a"][:3]])}
    with pytest.raises(InvalidArgument, match="pieces of 48 bytes"):
        write_pieces(tmp_path / "pieces", "kind", 1, fields, short)
    assert (tmp_path / "pieces").read_bytes() == (tmp_path / "whole").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pieces", "whole"]
