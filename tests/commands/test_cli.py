"""Every command from outside, and every mistake that the issue names: exit code 2, no traceback, files untouched."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
import scipy.sparse

from expander_theory import load_dictionary, load_mask
from expander_theory.cli import main


def expander(*words, expect=0, capsys=None):
    try:
        main([str(word) for word in words])
        code = 0
    except SystemExit as stop:
        code = stop.code or 0
    captured = capsys.readouterr() if capsys else None
    assert code == expect, captured
    return captured


@pytest.fixture
def run(capsys):
    return lambda *words, expect=0: expander(*words, expect=expect, capsys=capsys)


@pytest.fixture
def dictionary(tmp_path, run):
    path = tmp_path / "w.safetensors"
    run("build", path, "--m", 30, "--n", 60, "--d", 4, "--values", "signs")
    return path


def test_importing_the_core_is_instant_and_compiles_nothing():
    code = (
        "import sys, time; t = time.perf_counter(); import expander_theory; t = time.perf_counter() - t;"
        "assert not {'numba', 'torch', 'scipy', 'matplotlib'} & set(sys.modules), 'heavy import'; print(t)"
    )
    out = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert float(out) < 0.5


def test_the_core_never_loads_torch():
    modules = "base certificates cli dictionaries masks results simulation solvers statistics theorems"
    code = f"import sys; from expander_theory import {', '.join(modules.split())}; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout == "False\n"


COMMANDS = [
    "reproduce", "build", "measure", "recover", "sweep", "figures", "sae harvest", "sae train", "sae eval", "doctor",
    "fetch", "certify", "check-certificate", "theorems", "theorems show", "theorems check", "theorems attack",
    "certified", "ledger merge", "ledger status", "ledger export", "synthetic-study", "phase-boundary",
    "compare-solvers", "coverage",
]  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS)
def test_help_explains_every_option(run, command):
    text = run(*command.split(), "--help").out
    assert f"usage: expander {command}" in text
    assert len(text.splitlines()) > 3
    assert command in run("--help").out


def test_unknown_commands_suggest_the_right_one(run):
    assert "did you mean `expander build`" in run("buidl", expect=2).err
    assert "did you mean `expander sae train`" in run("sae", "trian", expect=2).err
    assert "sae harvest" in run("sae", expect=2).out
    run("build", "x", "--mm", "3", expect=2)


def test_build_measure_recover(run, tmp_path, dictionary):
    mask_path = tmp_path / "poly.safetensors"
    run("build", mask_path, "--construction", "polynomial", "--q", 8, "--d", 5, "--r", 2)
    mask = load_mask(mask_path)
    assert (mask.m, mask.n, mask.d) == (40, 64, 5)
    report = tmp_path / "poly.json"
    text = run("measure", mask_path, "--json", report).out
    measured = json.loads(report.read_text())
    assert measured["largest overlap"] == 1
    assert [row["status"] for row in measured["expansion"]] == ["exact"] * 4
    assert measured["expansion"][1]["lower"] == 9 / 10
    assert "pairs by overlap" in text

    measured = run("measure", dictionary).out
    for quantity in ("flatness C", "coherence mu", "k certified by Babel", "exact"):
        assert quantity in measured

    w = load_dictionary(dictionary)
    x = np.zeros((5, 60))
    x[np.arange(5), [1, 7, 20, 33, 59]] = 2.0
    np.save(tmp_path / "h.npy", w.matvec(x))
    out = tmp_path / "codes.npz"
    run("recover", dictionary, "--signals", tmp_path / "h.npy", "--k", 1, "--out", out)
    np.testing.assert_allclose(scipy.sparse.load_npz(out).toarray(), x, atol=1e-12)

    rates = tmp_path / "rates.json"
    text = run("recover", dictionary, "--k", 1, 3, "--trials", 20, "--out", rates).out
    assert "20/20" in text
    assert [entry["k"] for entry in json.loads(rates.read_text())] == [1, 3]


@pytest.mark.parametrize("values", ["gaussian", "flat"])
def test_build_values(run, tmp_path, values):
    extra = ["--flatness", 1.2] if values == "flat" else []
    run("build", tmp_path / "w", "--m", 10, "--n", 20, "--d", 3, "--values", values, *extra)
    np.testing.assert_allclose(load_dictionary(tmp_path / "w").column_norms, 1)


def test_build_dense(run, tmp_path):
    run("build", tmp_path / "w", "--construction", "dense", "--m", 5, "--n", 9)
    assert load_dictionary(tmp_path / "w").d == 5
    assert "coherence mu" in run("measure", tmp_path / "w").out


def test_sweep_in_n_and_k(run, tmp_path):
    out = run("sweep", tmp_path, "--m", 24, "--ns", 40, 60, "--ks", 2, 8, "--d", 4, "--trials", 10, "--workers", 1).out
    assert "Fitted 50 % boundary" in out
    assert len((tmp_path / "cells.csv").read_text().splitlines()) == 9
    run("figures", "--results", tmp_path)
    assert (tmp_path / "figures" / "phase_diagram.png").exists()
    assert out.count("| uniform  |") >= 4
    assert out.count("| dense    |") >= 4


BUILD = ["--m", 10, "--n", 20, "--d", 3]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--m", 4, "--n", 9, "--d", 5], ["d = 5", "m = 4"]),
        (["--n", 9, "--d", 5], ["m = not given"]),
        (["--construction", "polynomial", "--q", 6, "--d", 3], ["q = 6", "prime power"]),
        (["--construction", "polynomial", "--q", 4, "--d", 3, "--n", 99], ["n = 99", "q^r = 4^2 = 16"]),
        (["--construction", "polynomial", "--q", 4, "--d", 3, "--m", 13], ["m = 13", "12"]),
        ([*BUILD, "--seed", -1], ["seed = -1", "non-negative"]),
        ([*BUILD, "--q", 7], ["q = 7", "polynomial"]),
        ([*BUILD, "--flatness", 2], ["flatness = 2", "values flat"]),
        (["--construction", "dense", "--m", 3, "--n", 4, "--d", 2], ["d = 2", "dense"]),
        (["--construction", "polynomial", "--q", 65536, "--d", 999, "--r", 999], ["n = q^r", "too many"]),
        (["--m", 100, "--n", 10**13, "--d", 3], ["n = 10000000000000", "32-bit"]),
        ([*BUILD, "--values", "flat", "--flatness", 9], ["flatness = 9", "sqrt(d)"]),
    ],
)
def test_bad_builds(run, tmp_path, words, says):
    path = tmp_path / "kept"
    path.write_text("precious")
    error = run("build", path, *words, "--force", expect=2).err
    assert all(part in error for part in says), error
    assert error.startswith("expander: error: ")
    assert "Traceback" not in error
    assert path.read_text() == "precious"


def test_nothing_is_overwritten_without_force(run, tmp_path):
    path = tmp_path / "mask"
    run("build", path, *BUILD)
    before = path.read_bytes()
    assert "--force" in run("build", path, *BUILD, "--seed", 1, expect=2).err
    assert path.read_bytes() == before
    run("build", path, *BUILD, "--seed", 1, "--force")
    assert path.read_bytes() != before


@pytest.mark.parametrize(
    ("signals", "says"),
    [
        (np.full((2, 30), np.nan), ["signals", "NaN", "row 0"]),
        (np.r_[np.ones((1, 30)), np.full((1, 30), np.inf)], ["signals", "row 1"]),
        (np.ones((2, 29)), ["(2, 29)", "(batch, 30)"]),
        (np.ones((2, 30), complex), ["complex128", "real numbers"]),
        (np.ones((0, 30)), ["(0, 30)", "at least one"]),
        (np.array([{}], object), ["not a .npy file of numbers"]),
    ],
)
def test_bad_signals(run, tmp_path, dictionary, signals, says):
    np.save(tmp_path / "h.npy", signals)
    out = tmp_path / "codes.npz"
    error = run("recover", dictionary, "--signals", tmp_path / "h.npy", "--k", 2, "--out", out, expect=2).err
    assert all(part in error for part in says), error
    assert not out.exists()


@pytest.mark.parametrize("k", [0, 31, -3])
def test_bad_k(run, dictionary, k):
    assert f"k = {k}: must be" in run("recover", dictionary, "--k", k, expect=2).err


def test_missing_and_wrong_files(run, tmp_path, dictionary):
    assert "no such file" in run("measure", tmp_path / "absent", expect=2).err
    (tmp_path / "short").write_bytes(dictionary.read_bytes()[:-1])
    assert "truncated" in run("measure", tmp_path / "short", expect=2).err
    (tmp_path / "text").write_text("hello, this is no dictionary at all")
    assert "truncated or not a file of this project" in run("recover", tmp_path / "text", expect=2).err
    assert "no such results" in run("figures", "--results", tmp_path / "absent", expect=2).err
    (tmp_path / "empty").mkdir()
    assert "no results to draw" in run("figures", "--results", tmp_path / "empty", expect=2).err
    np.save(tmp_path / "h.npy", np.ones(30))
    assert "needs --out" in run("recover", dictionary, "--signals", tmp_path / "h.npy", "--k", 2, expect=2).err


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash for ulimit")
def test_a_full_disk_keeps_old_codes_and_ledgers(tmp_path, dictionary):
    w = load_dictionary(dictionary)
    np.save(tmp_path / "h.npy", np.random.default_rng(0).standard_normal((200, 30)))
    out = tmp_path / "codes.npz"
    out.write_text("precious")
    program = f"{sys.executable} -m expander_theory.cli"
    recover = f"{program} recover {dictionary} --signals {tmp_path}/h.npy --k 20 --out {out} --force"
    done = subprocess.run(["bash", "-c", f"ulimit -f 4; exec {recover}"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (2, f"expander: error: {out}: File too large\n")
    assert out.read_text() == "precious"
    assert w.sha256 == load_dictionary(dictionary).sha256

    sweep = f"{program} sweep {tmp_path}/s --m 24 --ns 40 --ks 1 2 3 4 5 6 7 8 --d 4 --trials 300 --workers 1"
    done = subprocess.run(["bash", "-c", f"ulimit -f 4; exec {sweep}"], capture_output=True, text=True, check=False)
    ledger = tmp_path / "s" / "ledger.jsonl"
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == f"expander: error: {ledger}: File too large"
    kept = ledger.read_bytes()
    assert kept.count(b"\n") > 3
    subprocess.run(["bash", "-c", sweep], capture_output=True, check=True)
    assert ledger.read_bytes().startswith(kept[: kept.rfind(b"\n") + 1])


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash for ulimit")
def test_a_full_disk(tmp_path):
    """A limit of 1 KiB a file stands for the full disk: the write itself fails."""
    path = tmp_path / "mask"
    path.write_text("precious")
    command = f"ulimit -f 1; exec {sys.executable} -m expander_theory.cli build {path} --m 99 --n 999 --d 9 --force"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == f"expander: error: {path}: File too large\n"
    assert path.read_text() == "precious"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_cannot_be_written(run, tmp_path):
    (tmp_path / "file").write_text("")
    error = run("build", tmp_path / "file" / "mask", *BUILD, expect=2).err
    assert str(tmp_path / "file") in error
    assert "Traceback" not in error
    error = run("sweep", tmp_path / "file", "--trials", 1, "--workers", 1, expect=2).err
    assert str(tmp_path / "file") in error


def test_a_reader_that_goes_away_is_no_error(dictionary):
    command = f"{sys.executable} -m expander_theory.cli measure {dictionary} | head -n 1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert done.stderr == ""


def test_existing_reports_are_kept(run, tmp_path, dictionary):
    report = tmp_path / "report.json"
    report.write_text("precious")
    assert "--force" in run("measure", dictionary, "--json", report, expect=2).err
    assert report.read_text() == "precious"
    run("measure", dictionary, "--json", report, "--force")


def test_version(run):
    assert run("--version").out.startswith("expander-theory 0.")


def test_doctor(run):
    text = run("doctor").out
    for word in (
        "python",
        "cores",
        "expander-theory",
        "numba",
        "python-flint",
        "torch",
        "matplotlib",
        "jinja2",
        "default model",
    ):
        assert word in text


def test_ctrl_c_ends_quietly(run, monkeypatch, tmp_path):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("expander_theory.simulation.run_sweep", interrupted)
    assert "the same command goes on" in run("sweep", tmp_path, "--trials", 1, expect=130).err


@pytest.mark.parametrize(
    ("words", "sizes"),
    [
        (["biregular", "--m", 12, "--n", 18, "--d", 4], (12, 18, 4)),
        (["progressive-edge-growth", "--m", 12, "--n", 18, "--d", 4], (12, 18, 4)),
        (["overlap-limited", "--m", 12, "--n", 18, "--d", 4, "--max-overlap", 2], (12, 18, 4)),
        (["projective-plane", "--q", 3], (13, 13, 4)),
        (["projective-plane", "--q", 3, "--m", 13, "--n", 13, "--d", 4], (13, 13, 4)),
        (["affine-plane", "--q", 4], (16, 20, 4)),
        (["affine-plane", "--m", 16, "--n", 20, "--d", 4], (16, 20, 4)),
        (["overlap-limited", "--m", 12, "--n", 18, "--d", 4], (12, 18, 4)),
        (["polynomial", "--m", 20, "--n", 25, "--d", 5, "--r", 3], (20, 25, 5)),
        (["euler-square", "--q", 6, "--d", 3], (18, 36, 3)),
        (["euler-square", "--m", 18, "--n", 36, "--d", 3], (18, 36, 3)),
        (["partial-euler-square", "--q", 6, "--d", 3, "--n", 20], (18, 20, 3)),
        (["generalised-quadrangle", "--s", 2, "--t", 4], (27, 45, 3)),
        (["complete-graph", "--v", 5], (10, 5, 4)),
        (["complete-design", "--m", 6, "--d", 2], (6, 15, 2)),
        (["clustered", "--m", 12, "--n", 18, "--d", 4], (12, 18, 4)),
        (["repeated", "--m", 12, "--n", 18, "--d", 4, "--supports", 5], (12, 18, 4)),
        (["contiguous", "--m", 12, "--n", 18, "--d", 4], (12, 18, 4)),
    ],
)
def test_build_constructions(run, tmp_path, words, sizes):
    from expander_theory import overlap_counts

    run("build", tmp_path / "mask", "--construction", *words, "--seed", 3)
    mask = load_mask(tmp_path / "mask")
    assert (mask.m, mask.n, mask.d) == sizes
    partial = words[0].startswith("partial")
    assert mask.recipe.replace(" ", "-").startswith("20-columns-of-euler-square" if partial else words[0])
    degrees, counts = mask.row_degrees, overlap_counts(mask)
    if words[0] == "biregular":
        assert (degrees == 6).all()
    if words[0] == "repeated":
        assert len(np.unique(mask.rows, axis=0)) == 5
    if words[0] == "overlap-limited":
        assert counts[3:].sum() == 0
    if words[0].endswith(("plane", "square", "quadrangle", "graph")):
        assert counts[2:].sum() == 0


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([*BUILD, "--max-overlap", 1], ["max-overlap = 1", "overlap-limited"]),
        ([*BUILD, "--construction", "overlap-limited", "--max-overlap", 0], ["max_overlap = 0", "packing bound"]),
        ([*BUILD, "--construction", "overlap-limited", "--max-overlap", 4], ["max_overlap = 4", "d = 3"]),
        (
            [*BUILD, "--construction", "biregular", "--q", 7],
            [
                "q = 7",
                "goes with polynomial or euler-square or partial-euler-square or affine-plane or projective-plane",
            ],
        ),
        ([*BUILD, "--construction", "projective-plane", "--q", 3], ["m = 10", "must be 13"]),
        (["--construction", "affine-plane", "--q", 4, "--d", 5], ["d = 5", "must be 4"]),
        (["--construction", "affine-plane", "--q", 4, "--r", 2], ["r = 2", "polynomial"]),
        (["--construction", "affine-plane"], ["q = not given", "needs --q"]),
        (["--construction", "projective-plane", "--q", 6], ["q = 6", "prime power"]),
        (
            ["--construction", "euler-square", "--m", 20, "--n", 36, "--d", 3],
            ["m = 20", "3 q", "m = 18, n = 36, d = 3; m = 21, n = 49, d = 3"],
        ),
        (["--construction", "euler-square", "--q", 6, "--d", 4], ["d = 4", "between 2 and 3"]),
        (["--construction", "euler-square", "--q", 6], ["d = not given"]),
        (["--construction", "partial-euler-square", "--q", 3, "--d", 3, "--n", 10], ["n = 10", "at most q^2 = 9"]),
        (["--construction", "generalised-quadrangle", "--s", 2, "--t", 3], ["t = 3", "2 or s^2 = 4"]),
        (
            ["--construction", "generalised-quadrangle", "--m", 20, "--n", 20, "--d", 3],
            ["m = 20", "15 or 27", "m = 15, n = 15, d = 3; m = 27, n = 45, d = 3"],
        ),
        (["--construction", "complete-graph", "--v", 1], ["v = 1", "at least 2"]),
        (
            ["--construction", "complete-design", "--m", 6, "--n", 14, "--d", 2],
            ["n = 14", "m = 6, n = 15, d = 2"],
        ),
        (["--construction", "complete-design", "--m", 600, "--d", 200], ["m = 600", "entries"]),
        ([*BUILD, "--supports", 2], ["supports = 2", "goes with repeated alone"]),
        ([*BUILD, "--construction", "repeated", "--supports", 21], ["supports = 21", "n = 20"]),
        (["--construction", "progressive-edge-growth", "--m", 4, "--n", 9], ["d = not given"]),
        (["--construction", "biregular", "--m", 4, "--n", 9, "--d", 5], ["d = 5", "m = 4"]),
        (["--construction", "biregular", "--m", 100, "--n", 10**13, "--d", 3], ["n = 10000000000000", "32-bit"]),
    ],
)
def test_bad_constructions(run, tmp_path, words, says):
    test_bad_builds(run, tmp_path, words, says)
