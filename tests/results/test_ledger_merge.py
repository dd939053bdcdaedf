"""Merging a sweep's ledgers: what is united, what is refused, and that no order shows."""

import itertools
import json
from dataclasses import replace

import pytest
from hypothesis import given, settings, strategies as st

from expander_theory import InvalidArgument, InvalidFile
from expander_theory.results import BlockRecord, CertificateRecord, TaskRecord, fields_of, records_of
from expander_theory.results.ledger import Ledger, read_ledger
from expander_theory.results.ledger_format import VERSION, read_contents
from expander_theory.results.ledger_merge import merge_ledgers
from expander_theory.simulation.cells import block_record, blocks_of, failure_record, task_record, tasks_of
from expander_theory.simulation.trials import Block, Ensemble, Task

IDENTITY = {"kind": "sweep", "grid": {"d": 3, "ks": [1, 2]}}
TASKS = [Task(Ensemble("uniform", m, 100, 3), k) for m in (20, 100) for k in (2, 10)]
CERTIFICATE = CertificateRecord(certified_k=1, draw=0, family="uniform", m=9, n=100, d=3)


def done(task, block, outcome=None, error=0.25):
    return block_record(task, block, Block(outcome or "10" * 12 + "1", 0.75, error))


def ledger(path, *records, shard=None, identity=None):
    with Ledger(path, {**(identity or IDENTITY), **({"shard": shard} if shard else {})}) as opened:
        for record in records:
            opened.append(record)
    return path


def test_shards_become_one_ledger_in_canonical_order(tmp_path):
    first = ledger(
        tmp_path / "1", task_record(TASKS[3]), done(TASKS[3], 1), CERTIFICATE, done(TASKS[3], 0), shard="1/2"
    )
    second = ledger(
        tmp_path / "2", task_record(TASKS[1]), done(TASKS[1], 10), done(TASKS[1], 9), task_record(TASKS[0]),
        done(TASKS[0], 0), CERTIFICATE, shard="2/2",
    )  # fmt: skip
    before = first.read_bytes(), second.read_bytes()
    merged = merge_ledgers(tmp_path / "new" / "ledger.jsonl", [first, second])
    identity, records = read_ledger(tmp_path / "new" / "ledger.jsonl")
    assert identity == IDENTITY
    expected = [
        task_record(TASKS[0]), done(TASKS[0], 0), task_record(TASKS[1]), done(TASKS[1], 9), done(TASKS[1], 10),
        task_record(TASKS[3]), done(TASKS[3], 0), done(TASKS[3], 1), CERTIFICATE,
    ]  # fmt: skip
    assert records == expected  # m = 20 before 100, k = 2 before 10, block 9 before 10: as numbers
    assert (merged.records, merged.duplicates, merged.mended, merged.rounded) == (9, 1, 0, 0)
    assert merged.shards == ("all 2 shards merged",)
    assert (first.read_bytes(), second.read_bytes()) == before
    with Ledger(tmp_path / "new" / "ledger.jsonl", IDENTITY) as resumed:  # as the whole sweep would
        assert resumed.records == expected


def test_provenance_is_kept_sorted_by_time(tmp_path, monkeypatch):
    paths = []
    for time in ("2027", "2026", "2027"):
        monkeypatch.setattr("expander_theory.results.ledger.provenance", lambda time=time: {"time": time})
        paths.append(ledger(tmp_path / f"{len(paths)}", CERTIFICATE, shard="1/1"))
    merge_ledgers(tmp_path / "out", paths)
    assert read_contents(tmp_path / "out").provenance == [
        {"time": "2026", "shard": "1/1"},
        {"time": "2027", "shard": "1/1"},
    ]


def _block_records():
    """Everything that ledgers of one sweep may hold together: outcomes follow from task and block."""
    cases = []
    for task, block in itertools.product(TASKS[:3], range(3)):
        outcome = f"{block * 7 + TASKS.index(task):025b}"
        cases += [done(task, block, outcome), done(task, block, outcome, error=0.25 + 1e-9)]
        cases += [failure_record(task, block, error, attempts) for error, attempts in (("a", 3), ("b", 3), ("c", 1))]
    return [*cases, *map(task_record, TASKS), CERTIFICATE, replace(CERTIFICATE, draw=1)]


@settings(max_examples=20)
@given(st.lists(st.lists(st.sampled_from(_block_records()), max_size=12), min_size=3, max_size=3))
def test_the_bytes_depend_on_neither_order_nor_grouping(tmp_path_factory, parts):
    folder = tmp_path_factory.mktemp("merge")
    paths = [ledger(folder / f"in{i}", *part, shard=f"{i + 1}/3") for i, part in enumerate(parts)]
    results = set()
    for number, order in enumerate(itertools.permutations(paths)):
        merge_ledgers(folder / f"at once {number}", order)
        for path in order:
            merge_ledgers(folder / f"one by one {number}", [path])
        merge_ledgers(folder / f"nested {number}", [folder / f"one by one {number}", *order[:1]])
        results |= {(folder / f"{how} {number}").read_bytes() for how in ("at once", "one by one", "nested")}
    assert len(results) == 1
    given_blocks = [record for part in parts for record in part]
    merged = read_ledger(folder / "at once 0")[1]
    assert {id: set(b) for id, b in blocks_of(merged).items()} == {
        id: {r.block for r in records_of(given_blocks, BlockRecord) if r.task == id}
        for id in {r.task for r in records_of(given_blocks, BlockRecord)}
    }
    assert set(tasks_of(merged)) == {r.task for r in records_of(given_blocks, TaskRecord)}


def test_a_failure_gives_way_to_a_success_wherever_that_is(tmp_path):
    failed, succeeded = failure_record(TASKS[0], 0, "killed", 3), done(TASKS[0], 0)
    again = failure_record(TASKS[0], 1, "killed", 3)
    a = ledger(tmp_path / "a", failed, again)
    b = ledger(tmp_path / "b", succeeded, failure_record(TASKS[0], 1, "out of memory", 5))
    for order in ([a, b], [b, a]):
        merged = merge_ledgers(tmp_path / f"out{order[0].name}", order)
        assert merged.mended == 2
        records = read_ledger(tmp_path / f"out{order[0].name}")[1]
        assert records == [succeeded, failure_record(TASKS[0], 1, "out of memory", 5)]


def test_blocks_that_differ_in_rounding_count_once(tmp_path):
    a, b = (ledger(tmp_path / name, done(TASKS[0], 0, error=e)) for name, e in (("a", 0.1), ("b", 0.1 + 1e-12)))
    assert merge_ledgers(tmp_path / "out", [b, a]).rounded == 1
    assert read_ledger(tmp_path / "out")[1] == [done(TASKS[0], 0, error=0.1)]


@pytest.mark.parametrize(
    ("one", "other", "says"),
    [
        (done(TASKS[0], 4, "1" * 25), done(TASKS[0], 4, "0" * 25), "block 4: outcome is '1111"),
        (done(TASKS[0], 4), replace(done(TASKS[0], 4), fraction=0.5), "block 4: fraction is 0.75 there and 0.5 here"),
        (task_record(TASKS[0]), replace(task_record(TASKS[1]), task=TASKS[0].id), "content.k is 2 there and 10 here"),
        (CERTIFICATE, replace(CERTIFICATE, certified_k=2), "certified_k is 1 there and 2 here"),
    ],
)
def test_contradictions_are_refused_and_both_files_named(tmp_path, one, other, says):
    a, b = ledger(tmp_path / "a", one), ledger(tmp_path / "b", other)
    ledger(tmp_path / "out", done(TASKS[2], 0))
    before = (tmp_path / "out").read_bytes()
    with pytest.raises(InvalidFile) as refusal:
        merge_ledgers(tmp_path / "out", [a, b])
    assert f"{b}: contradicts {a}: " in str(refusal.value)
    assert says in str(refusal.value)
    assert (tmp_path / "out").read_bytes() == before


def test_one_file_that_contradicts_itself(tmp_path):
    a = ledger(tmp_path / "a", done(TASKS[0], 0, "1" * 25), done(TASKS[0], 0, "0" * 25))
    with pytest.raises(InvalidFile, match=f"{a}: contradicts {a}"):
        merge_ledgers(tmp_path / "out", [a])
    assert not (tmp_path / "out").exists()


def test_other_experiments_are_refused(tmp_path):
    a = ledger(tmp_path / "a", CERTIFICATE, shard="1/2")
    b = ledger(tmp_path / "b", shard="2/2", identity={**IDENTITY, "grid": {"d": 4, "ks": [1, 2]}})
    with pytest.raises(InvalidFile, match=f"{b}: belongs to another experiment: grid.d is 4 there and 3 in {a}"):
        merge_ledgers(tmp_path / "out", [a, b])
    with pytest.raises(InvalidFile, match="shard is '1/2' there and absent in the ledgers to merge"):
        merge_ledgers(a, [ledger(tmp_path / "c", shard="2/2")])
    (tmp_path / "notes").write_text("precious\n")
    for out, inputs in ((tmp_path / "notes", [a]), (tmp_path / "out", [a, tmp_path / "notes"])):
        with pytest.raises(InvalidFile, match=r"notes: is not a ledger of this project .*line 1 is no JSON"):
            merge_ledgers(out, inputs)
    assert (tmp_path / "notes").read_text() == "precious\n"
    with pytest.raises(InvalidFile, match=r"c2: holds other results than a sweep's.*\"id\":\"OMP-3\""):
        merge_ledgers(tmp_path / "out", [ledger(tmp_path / "c2", {"id": "OMP-3"})])
    with pytest.raises(InvalidFile, match="no such"):
        merge_ledgers(tmp_path / "out", [a, tmp_path / "absent"])
    with pytest.raises(InvalidArgument, match="inputs"):
        merge_ledgers(tmp_path / "out", [])
    assert not (tmp_path / "out").exists()


def test_an_existing_output_of_the_same_sweep_is_added_to(tmp_path):
    out = ledger(tmp_path / "out", done(TASKS[0], 0))
    merged = merge_ledgers(out, [ledger(tmp_path / "a", done(TASKS[0], 1), shard="1/2")])
    assert read_ledger(out)[1] == [done(TASKS[0], 0), done(TASKS[0], 1)]
    assert merged.shards == ("shard 1 of 2 merged; 2 is missing",)
    with Ledger(out, IDENTITY), pytest.raises(InvalidFile, match="another process"):
        merge_ledgers(out, [tmp_path / "a"])


def test_missing_shards_are_named_over_several_merges(tmp_path):
    shards = {i: ledger(tmp_path / f"{i}", done(TASKS[0], i), shard=f"{i}/5") for i in range(1, 6)}
    out = tmp_path / "out"
    assert merge_ledgers(out, [shards[3], shards[1]]).shards == ("shards 1, 3 of 5 merged; 2, 4, 5 are missing",)
    assert merge_ledgers(out, [shards[4], shards[5]]).shards == ("shards 1, 3, 4, 5 of 5 merged; 2 is missing",)
    assert merge_ledgers(out, [shards[2]]).shards == ("all 5 shards merged",)
    assert merge_ledgers(out, [ledger(tmp_path / "other", CERTIFICATE, shard="1/2")]).shards == (
        "shard 1 of 2 merged; 2 is missing",
        "all 5 shards merged",
    )
    with pytest.raises(InvalidFile, match="shard 'x', which is not of the form 1/3"):
        merge_ledgers(out, [ledger(tmp_path / "bad", shard="x")])


def test_an_input_that_is_being_written_is_merged_as_far_as_it_is(tmp_path):
    path = tmp_path / "running"
    with Ledger(path, IDENTITY) as running:
        running.append(done(TASKS[0], 0))
        with open(path, "ab") as file:
            file.write(b'{"task": "half a li')
        merged = merge_ledgers(tmp_path / "out", [path])
    assert merged.unfinished == (path,)
    assert read_ledger(tmp_path / "out")[1] == [done(TASKS[0], 0)]
    assert merge_ledgers(tmp_path / "out", [path]).unfinished == ()


def test_old_ledgers_merge_into_the_new_format(tmp_path):
    path = tmp_path / "old"
    lines = [{"ledger": 1, "identity": IDENTITY}, fields_of(done(TASKS[0], 0))]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    merge_ledgers(tmp_path / "out", [path])
    contents = read_contents(tmp_path / "out")
    assert (contents.version, contents.provenance, contents.records) == (VERSION, [], [done(TASKS[0], 0)])


def test_a_record_counts_once_whether_or_not_it_says_what_it_is(tmp_path):
    path = tmp_path / "old"
    lines = [
        {"ledger": 1, "identity": IDENTITY},
        *map(fields_of, (task_record(TASKS[0]), done(TASKS[0], 0), CERTIFICATE)),
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    new = ledger(tmp_path / "new", done(TASKS[0], 0), CERTIFICATE, done(TASKS[0], 1))
    assert merge_ledgers(tmp_path / "one", [path, new]).duplicates == 2
    merge_ledgers(tmp_path / "two", [new, path])
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    assert len(read_ledger(tmp_path / "one")[1]) == 4
