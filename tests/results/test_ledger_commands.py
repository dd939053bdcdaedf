"""``expander ledger merge``, ``status`` and ``export`` from the command line, and what they write read back."""

import csv
import json
import re
import shutil
import subprocess
import sys

import pyarrow
import pyarrow.parquet
import pytest

from expander_theory.cli import main
from expander_theory.results import CertificateRecord
from expander_theory.results.ledger import Ledger, read_ledger
from expander_theory.results.ledger_format import read_contents
from expander_theory.simulation.cells import block_record, cell_rows, cells, failure_record, task_record
from expander_theory.simulation.trials import Block, Ensemble, Noise, Task

IDENTITY = {"kind": "sweep", "seed": 0, "grid": {"m": [20, 30]}}
TASKS = [Task(Ensemble("uniform", m, 40, 3), 2, noise=Noise("relative", 0.1)) for m in (20, 30)]
OUTCOMES = ["1" * 25, "1" * 20 + "0" * 5, "0" * 25]
CERTIFICATE = CertificateRecord(certified_k=1, draw=0, family="uniform", m=20, n=40, d=3)
SWEEP = [
    task_record(TASKS[0]),
    block_record(TASKS[0], 1, Block(OUTCOMES[1], 0.9, 1 / 3)),
    block_record(TASKS[0], 0, Block(OUTCOMES[0], 1.0, 1e-17)),
    task_record(TASKS[1]),
    block_record(TASKS[1], 0, Block(OUTCOMES[2], 0.1, 2.5)),
    failure_record(TASKS[1], 1, "ValueError: no such mask", 3),
    failure_record(TASKS[1], 2, "ValueError: no such mask", 3),
    failure_record(TASKS[0], 0, "worker died", 1),  # of a block that is done
    CERTIFICATE,
]
MIXED = [
    {"name": "é, \"q\"\n", "count": 3, "rate": 1, "flag": True, "odd": 1,
     "inner": {"a": {"b": 2}, "c": []}, "all": [1]},
    {"name": "", "count": -(2**62), "rate": 0.1, "flag": False, "odd": "x", "inner": {"c": [1.5, 2]}, "all": []},
    {"name": None, "big": 2**70, "nothing": None, "odd": None, "text": ["a", None], "deep": [[1], [2, 3]]},
]  # fmt: skip


def write(path, records, identity=IDENTITY):
    with Ledger(path, identity) as ledger:
        for record in records:
            ledger.append(record)
    return path


@pytest.fixture
def run(capsys):
    def call(*words, expect=0):
        code = 0
        try:
            main(["ledger", *(str(word) for word in words)])
        except SystemExit as stop:
            code = stop.code
        captured = capsys.readouterr()
        assert code == expect, captured
        return captured.err if expect else captured.out

    return call


def cell_of(table, row):
    """The second column of a printed table's row, by its first."""
    return re.search(rf"^\| {re.escape(row)} +\| (.*?) *\|$", table, re.MULTILINE)[1]


def test_status_of_a_sweep(run, tmp_path):
    path = write(tmp_path / "ledger.jsonl", SWEEP, {**IDENTITY, "shard": "2/3"})
    shown = run("status", path)
    rows = {"kind": "sweep", "identity: grid": '{"m":[20,30]}', "identity: seed": "0", "identity: shard": "2/3",
            "records": "9", "tasks": "2", "blocks": "3", "trials": "75", "quarantined blocks": "2",
            "being written now": "no", "torn last line": "no", "format": "4",
            "content sha256": read_contents(path).sha256}  # fmt: skip
    assert {row: cell_of(shown, row) for row in rows} == rows
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", cell_of(shown, "last write"))
    assert re.search(rf"ValueError: no such mask \| +2 \| task {TASKS[1].id[:12]}, block 1 ", shown)
    assert "worker died" not in shown
    provenance = shown[shown.index("Where the records come from") :]
    assert "numpy " in provenance
    assert "2/3" in provenance
    assert len(provenance.splitlines()) == 5  # a title and one row


def test_status_while_it_is_written_and_after_a_crash(run, tmp_path):
    path = tmp_path / "ledger.jsonl"
    with Ledger(path, {"kind": "notes"}) as ledger:
        ledger.append({"x": 1})
        assert cell_of(run("status", path), "being written now") == "yes, by another process"
    with open(path, "ab") as file:
        file.write(b'{"x": 2')
    before = path.read_bytes()
    shown = run("status", path)
    assert cell_of(shown, "being written now") == "no"
    assert cell_of(shown, "torn last line") == "7 bytes, the next run cuts them off"
    assert cell_of(shown, "records") == "1"
    assert "trials" not in shown
    assert path.read_bytes() == before


def test_status_of_folders(run, tmp_path):
    write(tmp_path / "a" / "one.jsonl", SWEEP)
    write(tmp_path / "a" / "two.jsonl", [{"x": 1}], {"kind": "notes"})
    shown = run("status", tmp_path / "a")
    assert shown.index(f"{tmp_path}/a/one.jsonl\n") < shown.index(f"{tmp_path}/a/two.jsonl\n")
    (tmp_path / "b").mkdir()
    assert run("status", tmp_path / "b", expect=2) == f"expander: error: {tmp_path}/b: holds no ledger (*.jsonl)\n"
    assert "no such results file" in run("status", tmp_path / "c", expect=2)
    assert "paths = none" in run("status", expect=2)


def test_merge_from_the_command_line(run, tmp_path):
    for i, records in ((1, SWEEP[:3]), (2, SWEEP[3:])):
        write(tmp_path / "s" / f"part{i}.jsonl", records, {**IDENTITY, "shard": f"{i}/3"})
    shown = run("merge", tmp_path / "out", tmp_path / "s")
    assert shown.splitlines() == [
        "8 records merged from 2 ledgers",
        "left out: 1 (failures of blocks that another record settles)",
        "shards 1, 2 of 3 merged; 3 is missing",
        f"ledger: {tmp_path}/out/ledger.jsonl",
    ]
    before = (tmp_path / "out" / "ledger.jsonl").read_bytes()
    run("merge", tmp_path / "out" / "ledger.jsonl", tmp_path / "s" / "part2.jsonl", tmp_path / "s" / "part1.jsonl")
    assert (tmp_path / "out" / "ledger.jsonl").read_bytes() == before
    write(tmp_path / "wrong.jsonl", [block_record(TASKS[0], 0, Block(OUTCOMES[2], 1.0, 0.0))])
    error = run("merge", tmp_path / "out", tmp_path / "wrong.jsonl", expect=2)
    assert f"{tmp_path}/out/ledger.jsonl: contradicts {tmp_path}/wrong.jsonl: task {TASKS[0].id[:12]}, block 0" in error
    assert "inputs = none" in run("merge", tmp_path / "out", expect=2)
    assert (tmp_path / "out" / "ledger.jsonl").read_bytes() == before


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash for ulimit")
def test_a_full_disk_leaves_the_output_as_it_was(tmp_path):
    write(tmp_path / "in.jsonl", SWEEP)
    out = write(tmp_path / "out" / "ledger.jsonl", SWEEP[:1])
    before = out.read_bytes()
    command = f"{sys.executable} -m expander_theory.cli ledger merge {out} {tmp_path}/in.jsonl"
    done = subprocess.run(["bash", "-c", f"ulimit -f 1; {command}"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (2, f"expander: error: {out}: File too large\n")
    assert out.read_bytes() == before
    assert sorted(file.name for file in out.parent.iterdir()) == [".ledger.jsonl.lock", "ledger.jsonl"]
    subprocess.run(["bash", "-c", command], check=True, capture_output=True)
    assert len(read_ledger(out)[1]) == len(SWEEP) - 1


def read_csv(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_a_sweep_as_csv_and_parquet_has_the_counts_of_its_tasks(run, tmp_path):
    write(tmp_path / "s" / "ledger.jsonl", SWEEP)
    shown = run("export", tmp_path / "s", "--out", tmp_path / "t.csv")
    assert "left out: 1 records that are no trials (--records exports every record)" in shown
    run("export", tmp_path / "s", "--format", "parquet", "--out", tmp_path / "t.parquet")
    counted = cells(SWEEP)
    expected = [{"task": cell.task.id, **row} for cell, row in zip(counted, cell_rows(counted), strict=True)]
    assert [(row["successes"], row["trials"]) for row in expected] == [(45, 50), (0, 25)]
    table = pyarrow.parquet.read_table(tmp_path / "t.parquet")
    assert table.to_pylist() == expected
    types = {"successes": "int64", "rate": "double", "noise": "string", "error": "double"}
    assert {name: str(table.schema.field(name).type) for name in types} == types
    rows = read_csv(tmp_path / "t.csv")
    assert list(rows[0]) == list(expected[0])
    for row, wanted in zip(rows, expected, strict=True):
        for name, value in wanted.items():
            assert row[name] == "" if value is None else type(value)(row[name]) == value


def test_the_blocks_of_a_sweep(run, tmp_path):
    path = write(tmp_path / "ledger.jsonl", SWEEP)
    for form in ("csv", "parquet"):
        run("export", path, "--trials", "--format", form, "--out", tmp_path / f"b.{form}")
    table = pyarrow.parquet.read_table(tmp_path / "b.parquet")
    rows = table.to_pylist()
    assert [(r["task"], r["block"], r["successes"], r["trials"]) for r in rows] == [
        (TASKS[0].id, 0, 25, 25),
        (TASKS[0].id, 1, 20, 25),
        (TASKS[1].id, 0, 0, 25),
    ]
    assert [row["outcome"] for row in rows] == OUTCOMES
    assert [row["error"] for row in rows] == [1e-17, 1 / 3, 2.5]  # every bit
    assert (rows[0]["ensemble.m"], rows[0]["k"], rows[0]["noise.sigma"], rows[0]["solver"]) == (20, 2, 0.1, "omp")
    texts = read_csv(tmp_path / "b.csv")
    assert [row["outcome"] for row in texts] == OUTCOMES
    assert [float(row["error"]) for row in texts] == [1e-17, 1 / 3, 2.5]
    assert set(texts[0]) == set(rows[0])


def test_any_records_keep_their_values_and_types(run, tmp_path):
    path = write(tmp_path / "ledger.jsonl", MIXED, {"kind": "other"})
    for form in ("csv", "parquet"):
        run("export", path, "--format", form, "--out", tmp_path / f"r.{form}")
    table = pyarrow.parquet.read_table(tmp_path / "r.parquet")
    assert {field.name: str(field.type).replace("element", "item") for field in table.schema} == {
        "name": "string", "count": "int64", "rate": "double", "flag": "bool", "odd": "string", "inner.a.b": "int64",
        "inner.c": "list<item: double>", "all": "list<item: int64>", "big": "string", "nothing": "string",
        "text": "list<item: string>", "deep": "list<item: list<item: int64>>",
    }  # fmt: skip
    absent = dict.fromkeys(table.column_names)
    expected = [
        {**absent, "name": 'é, "q"\n', "count": 3, "rate": 1.0, "flag": True, "odd": "1", "inner.a.b": 2,
         "inner.c": [], "all": [1]},
        {**absent, "name": "", "count": -(2**62), "rate": 0.1, "flag": False, "odd": '"x"', "inner.c": [1.5, 2.0],
         "all": []},
        {**absent, "big": str(2**70), "text": ["a", None], "deep": [[1], [2, 3]]},
    ]  # fmt: skip
    assert table.to_pylist() == expected
    texts = read_csv(tmp_path / "r.csv")
    for row, wanted in zip(texts, expected, strict=True):
        for name, value in wanted.items():
            assert row[name] == (
                ""
                if value is None
                else json.dumps(value, separators=(",", ":"))
                if isinstance(value, list)
                else str(value)
            )


def test_parquet_names_its_source(run, tmp_path):
    path = write(tmp_path / "ledger.jsonl", SWEEP)
    run("export", path, "--records", "--format", "parquet", "--out", tmp_path / "r.parquet")
    schema = pyarrow.parquet.read_schema(tmp_path / "r.parquet")
    contents = read_contents(path)
    assert json.loads(schema.metadata[b"expander-theory"]) == {
        "identity": IDENTITY, "provenance": contents.provenance, "sha256": contents.sha256,
    }  # fmt: skip
    table = pyarrow.parquet.read_table(tmp_path / "r.parquet")
    assert len(table) == len(SWEEP)
    assert table["certified_k"].to_pylist() == [None] * 8 + [1]
    kinds = ["task", "block", "block", "task", "block", "failure", "failure", "failure", "certificate"]
    assert table["record"].to_pylist() == kinds
    assert table["content.codes.law"].to_pylist()[0] == "gaussian"


def test_what_cannot_be_exported(run, tmp_path, monkeypatch):
    path = write(tmp_path / "ledger.jsonl", [{"x": 1}], {"kind": "notes"})
    out = tmp_path / "t.csv"
    assert "holds no blocks to export" in run("export", path, "--trials", "--out", out, expect=2)
    assert "does not go with --records" in run("export", path, "--trials", "--records", "--out", out, expect=2)
    empty = write(tmp_path / "empty.jsonl", [])
    assert f"{empty}: holds no tasks to export" in run("export", empty, "--out", out, expect=2)
    assert "holds no records" in run("export", empty, "--records", "--out", out, expect=2)
    clash = write(tmp_path / "clash.jsonl", [{"a.b": 1, "a": {"b": 2}}], {})
    assert "has two fields that flatten to a.b" in run("export", clash, "--out", out, expect=2)
    nameless = write(tmp_path / "nameless.jsonl", SWEEP[1:2])
    assert f"{nameless}: results of task {TASKS[0].id[:12]}" in run("export", nameless, "--out", out, expect=2)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert "pip install 'expander-theory[parquet]'" in run(
        "export", path, "--format", "parquet", "--out", out, expect=2
    )
    assert not out.exists()
    out.write_text("precious")
    assert "--force" in run("export", path, "--out", out, expect=2)
    assert out.read_text() == "precious"
    run("export", path, "--out", out, "--force")
    assert read_csv(out) == [{"x": "1"}]


def test_a_folder_stands_for_its_one_ledger(run, tmp_path):
    for name in ("a", "b"):
        write(tmp_path / f"{name}.jsonl", [{"x": 1}], {})
    error = run("export", tmp_path, "--out", tmp_path / "t.csv", expect=2)
    assert f"{tmp_path}: holds several ledgers: name one of a.jsonl, b.jsonl" in error
    write(tmp_path / "ledger.jsonl", [{"x": 2}], {})
    run("export", tmp_path, "--out", tmp_path / "t.csv")
    assert read_csv(tmp_path / "t.csv") == [{"x": "2"}]
