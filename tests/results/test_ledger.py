import json
import platform
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from expander_theory import InvalidArgument, InvalidFile
from expander_theory.results import ExpansionRow, MaskRecord
from expander_theory.results._provenance import _commit
from expander_theory.results.ledger import Ledger, read_ledger
from expander_theory.results.ledger_format import VERSION, header_line, read_contents, record_line
from expander_theory.results.ledger_status import ledger_status
from expander_theory.simulation.cells import cells
from expander_theory.simulation.export import ledger_rows

IDENTITY = {"kind": "test", "seed": 0, "sizes": (1, 2)}


def write(path, *records, identity=IDENTITY):
    with Ledger(path, identity) as ledger:
        for record in records:
            ledger.append(record)
        return list(ledger.records)


def test_records_come_back(tmp_path):
    path = tmp_path / "a" / "ledger.jsonl"
    write(path, {"x": 1}, {"x": 2.5})
    assert write(path, {"x": 3}) == [{"x": 1}, {"x": 2.5}, {"x": 3}]
    identity, records = read_ledger(path)
    assert identity == {"kind": "test", "seed": 0, "sizes": [1, 2]}
    assert records == [{"x": 1}, {"x": 2.5}, {"x": 3}]


def test_a_torn_last_line_is_cut_off_at_every_byte(tmp_path):
    path = tmp_path / "ledger.jsonl"
    write(path, {"x": 1}, {"x": 22})
    whole = path.read_bytes()
    ends = [len(whole[: i + 1]) for i, byte in enumerate(whole) if byte == ord("\n")]
    assert len(ends) == 4  # header, provenance, two records
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        expected = [{"x": 1}, {"x": 22}][: max(0, sum(length >= end for end in ends) - 2)]
        assert write(path, {"x": 9}) == [*expected, {"x": 9}]
        assert read_ledger(path)[1] == [*expected, {"x": 9}]


def test_another_experiment_is_refused_and_left_alone(tmp_path):
    path = tmp_path / "ledger.jsonl"
    write(path, {"x": 1})
    before = path.read_bytes()
    with pytest.raises(InvalidFile, match="seed is 0 there and 5 here"), Ledger(path, {**IDENTITY, "seed": 5}):
        pass
    assert path.read_bytes() == before


def test_damage_before_the_last_line_is_reported(tmp_path):
    path = tmp_path / "ledger.jsonl"
    write(path, {"x": 1}, {"x": 2})
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + lines[1] + b'{"x": 1\n' + lines[3])
    with pytest.raises(InvalidFile, match="line 3 is damaged"):
        write(path)
    path.write_bytes(lines[0] + lines[1] + b"[1]\n" + lines[3])
    with pytest.raises(InvalidFile, match="line 3 is damaged: it has no checksum"):
        read_ledger(path)


def test_a_newer_format_and_another_file_are_refused(tmp_path):
    path = tmp_path / "ledger.jsonl"
    path.write_text(json.dumps({"ledger": 99, "identity": {}}) + "\n")
    with pytest.raises(InvalidFile, match="newer"):
        write(path)
    path.write_text('{"some": "file"}\n')
    with pytest.raises(InvalidFile, match="not a ledger"):
        write(path)
    with pytest.raises(InvalidFile, match="no such"):
        read_ledger(tmp_path / "absent")


@pytest.mark.parametrize("foreign", [b"my precious notes", b'{"precious": 1}', b'{"ledger": "9", "identity": {}}\n'])
def test_a_foreign_file_is_refused_and_left_alone(tmp_path, foreign):
    path = tmp_path / "ledger.jsonl"
    path.write_bytes(foreign)
    with pytest.raises(InvalidFile, match="is not a ledger"):
        write(path)
    assert path.read_bytes() == foreign


@pytest.mark.parametrize("key", ["kind", "sizes"])
def test_every_part_of_the_identity_counts(tmp_path, key):
    write(tmp_path / "l", {"x": 1})
    with pytest.raises(InvalidFile, match=f"{key} is"), Ledger(tmp_path / "l", {**IDENTITY, key: "other"}):
        pass


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"ensemble": {"d": 8, "m": 50}}, "ensemble.d is 7 there and 8 here"),
        ({"ensemble": {"d": 7}}, "ensemble.m is 50 there and absent here"),
        ({"ensemble": {"d": 7, "m": 50, "q": None}}, "ensemble.q is absent there and None here"),
        ({"ks": [1, 3]}, r"ks\[1\] is 2 there and 3 here"),
        ({"ks": [1]}, r"ks is \[1, 2\] there and \[1\] here"),
        ({"ensemble": {"d": 8, "m": 51}}, "ensemble.d is 7 there and 8 here; ensemble.m is 50 there and 51 here"),
    ],
)
def test_the_differing_field_is_named_by_its_path(tmp_path, changed, says):
    identity = {"ensemble": {"d": 7, "m": 50}, "ks": [1, 2]}
    with Ledger(tmp_path / "l", identity):
        pass
    with pytest.raises(InvalidFile, match=says), Ledger(tmp_path / "l", {**identity, **changed}):
        pass


def test_each_opening_that_appends_is_signed_once(tmp_path):
    path = tmp_path / "ledger.jsonl"
    for records in ([], [{"x": 1}, {"x": 2}], [], [{"x": 3}]):
        write(path, *records)
    keys = [min(json.loads(line).keys() - {"crc32"}) for line in path.read_text().splitlines()]
    assert keys == ["identity", "provenance", "x", "x", "provenance", "x"]
    contents = read_contents(path)
    assert contents.records == [{"x": 1}, {"x": 2}, {"x": 3}]
    assert len(contents.provenance) == 2
    entry = contents.provenance[0]
    assert abs(datetime.now(UTC) - datetime.fromisoformat(entry["time"])).total_seconds() < 60
    assert entry["arguments"] == [Path(sys.argv[0]).name, *sys.argv[1:]]
    assert entry["packages"]["numpy"] == np.__version__
    assert entry["python"].endswith(platform.python_version())
    assert {"commit", "platform", "processor"} <= entry.keys()


def test_an_opening_that_adds_nothing_leaves_every_byte(tmp_path):
    path = tmp_path / "ledger.jsonl"
    write(path, {"x": 1})
    before = path.read_bytes()
    write(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("record", [{"x": float("nan")}, {"x": {1, 2}}, {"provenance": {"time": "now"}}])
def test_what_is_no_record_is_refused_and_leaves_no_trace(tmp_path, record):
    path = tmp_path / "ledger.jsonl"
    write(path)
    before = path.read_bytes()
    with pytest.raises((ValueError, TypeError)):
        write(path, record)
    assert path.read_bytes() == before


def test_figures_and_content_hash_do_not_depend_on_provenance(tmp_path, monkeypatch):
    from expander_theory.plotting import write as write_drawing
    from paper_figures.figures.theory import mask_geometry

    record = MaskRecord(
        name="uniform", recipe="", sha256="", m=8, n=16, d=3, decoder_values=48, flatness_mean=1.0,
        flatness_largest=1.0, coherence=0.5, babel=(0.5,), k_coherence=1, k_babel=1, row_degree_least=2,
        row_degree_largest=9, largest_overlap=2, pairs_by_overlap={},
        expansion=(ExpansionRow(size=2, lower=0.5, upper=0.75, status="bounded", witness=""),),
    )  # fmt: skip
    drawn, hashes = [], []
    for time in ("2020", "2030"):
        monkeypatch.setattr("expander_theory.results.ledger.provenance", lambda time=time: {"time": time})
        write(tmp_path / time / "ledger.jsonl", record, identity={"kind": "mask geometry"})
        drawing = mask_geometry.draw(tmp_path / time / "ledger.jsonl")
        drawn.append([file.read_bytes() for file in write_drawing(drawing, tmp_path / time / "figures")])
        hashes.append(read_contents(tmp_path / time / "ledger.jsonl").sha256)
    assert (tmp_path / "2020/ledger.jsonl").read_bytes() != (tmp_path / "2030/ledger.jsonl").read_bytes()
    assert drawn[0]
    assert drawn[0] == drawn[1]
    assert hashes[0] == hashes[1]
    write(tmp_path / "2020" / "ledger.jsonl", replace(record, name="other"), identity={"kind": "mask geometry"})
    assert read_contents(tmp_path / "2020" / "ledger.jsonl").sha256 != hashes[1]


def test_a_ledger_of_format_1_is_read_and_continued(tmp_path):
    path = tmp_path / "ledger.jsonl"
    old = b'{"identity":{"kind":"test","seed":0,"sizes":[1,2]},"ledger":1}\n{"x":1}\n{"x"'
    path.write_bytes(old)
    assert read_ledger(path) == ({"kind": "test", "seed": 0, "sizes": [1, 2]}, [{"x": 1}])
    assert path.read_bytes() == old
    assert write(path, {"x": 2}) == [{"x": 1}, {"x": 2}]
    contents = read_contents(path)
    assert (contents.version, contents.records, len(contents.provenance)) == (VERSION, [{"x": 1}, {"x": 2}], 1)
    assert contents.checksums
    path.write_bytes(old[:40])  # a header of format 1 that a crash tore
    assert write(path, {"x": 2}) == [{"x": 2}]


def test_the_commit_is_that_of_a_clone_that_tracks_the_file(tmp_path):
    def git(*words):
        identity = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
        return subprocess.run(
            ["git", "-C", tmp_path, *identity, *words], check=True, capture_output=True, text=True
        ).stdout

    tracked, other = tmp_path / "tracked.py", tmp_path / "site-packages" / "other.py"
    other.parent.mkdir()
    for file in (tracked, other):
        file.write_text("1")
    assert _commit(tracked) is None
    git("init")
    git("add", "tracked.py")
    git("commit", "-m", "x")
    head = git("rev-parse", "HEAD").strip()
    assert _commit(tracked) == head
    assert _commit(other) is None
    tracked.write_text("2")
    assert _commit(tracked) == f"{head}-dirty"


def test_the_disk_is_waited_for_at_most_every_half_second_of_appending_and_on_closing(tmp_path, monkeypatch):
    clock, syncs = [100.0], []
    monkeypatch.setattr("expander_theory.results.ledger.time", SimpleNamespace(monotonic=lambda: clock[0]))
    monkeypatch.setattr("os.fsync", lambda _: syncs.append(clock[0]))
    with Ledger(tmp_path / "l", IDENTITY) as ledger:
        for x in range(12):
            clock[0] += 0.125
            ledger.append({"x": x})
            assert len(read_ledger(tmp_path / "l")[1]) == x + 1  # with the operating system at once
    assert syncs == [100.0, 100.5, 101.0, 101.5]  # the header, then every fourth record, and nothing left at the end
    with Ledger(tmp_path / "l", IDENTITY) as ledger:
        ledger.append({"x": 12})
        ledger.append({"x": 13})
    assert syncs[4:] == [101.5, 101.5]  # the first record, and closing


def test_a_write_that_breaks_off_is_cut_before_the_next_one(tmp_path):
    """As when the disk is full and is then made room on, or Ctrl-C comes in the middle of a line."""
    path = tmp_path / "ledger.jsonl"
    with Ledger(path, IDENTITY) as ledger:
        ledger.append({"x": 1})
        whole, file = path.read_bytes(), ledger._file
        for interruption in (KeyboardInterrupt, OSError(28, "No space left on device")):
            ledger._file = _BreaksOff(file, interruption)
            with pytest.raises((KeyboardInterrupt, OSError)):
                ledger.append({"x": "lost"})
            assert path.read_bytes() == whole + b'{"x"'
            assert read_ledger(path)[1] == [{"x": 1}]
        ledger._file = file
        ledger.append({"x": 2})
        assert ledger.records == [{"x": 1}, {"x": 2}]
    assert path.read_bytes() == whole + record_line({"x": 2})


class _BreaksOff:
    """A file that takes four bytes of a line and then fails."""

    def __init__(self, file, error):
        self.fileno, self.truncate = file.fileno, file.truncate
        self._file, self._error, self._calls = file, error, 0

    def write(self, data):
        self._calls += 1
        if self._calls > 1:
            raise self._error
        return self._file.write(data[:4])


def test_a_second_writer_is_kept_out(tmp_path):
    path = tmp_path / "ledger.jsonl"
    with Ledger(path, IDENTITY), pytest.raises(InvalidFile, match="another process"):
        write(path)
    write(path, {"x": 1})


def test_a_full_disk_names_the_ledger_and_keeps_what_was_written(tmp_path, monkeypatch):
    path = tmp_path / "ledger.jsonl"
    write(path, {"x": 1})

    def full(_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", full)
        with pytest.raises(OSError, match="No space") as caught:
            write(path, {"x": 2})
        assert caught.value.filename == str(path)
    assert {"x": 1} in write(path)


def test_a_changed_bit_is_seen_in_every_line(tmp_path):
    """Header, provenance and records; so is a digit that leaves sound JSON (.96 becomes .94).

    All but the end of the last line: without it that line is what an interrupted run leaves, and is dropped.
    """
    path = tmp_path / "ledger.jsonl"
    write(path, {"x": 0.96}, {"y": [1, 2]})
    text = path.read_bytes()
    path.write_bytes(text.replace(b"0.96", b"0.94"))
    with pytest.raises(InvalidFile, match="line 3 is damaged: it does not have the checksum that it was written with"):
        read_ledger(path)
    for at in range(0, len(text) - 1, 7):
        flipped = bytearray(text)
        flipped[at] ^= 1
        path.write_bytes(flipped)
        with pytest.raises(InvalidFile):
            read_ledger(path)


def test_ledgers_without_checksums_are_read_and_rewritten_with_them(tmp_path):
    path = tmp_path / "ledger.jsonl"
    lines = [{"identity": IDENTITY, "ledger": 2}, {"provenance": {"time": "then"}}, {"x": 1}, {}]
    path.write_text("".join(json.dumps(line, sort_keys=True, separators=(",", ":")) + "\n" for line in lines))
    before = read_contents(path)
    assert not before.checksums
    write(path, {"x": 2})
    after = read_contents(path)
    assert after.checksums
    assert after.records == [{"x": 1}, {}, {"x": 2}]
    assert after.provenance[0] == {"time": "then"}
    path.write_bytes(header_line(IDENTITY) + record_line({"x": 1}) + record_line({}))
    assert read_contents(path).sha256 == before.sha256  # of the content, whatever the format


def test_a_record_has_no_checksum_of_its_own(tmp_path):
    with (
        Ledger(tmp_path / "l", IDENTITY) as ledger,
        pytest.raises(InvalidArgument, match="must not have a field crc32"),
    ):
        ledger.append({"crc32": "0"})


def test_a_value_of_any_length_is_named_shortly():
    assert len(str(InvalidArgument("law", "9" * 5000, "must be signs"))) < 400
    assert str(InvalidArgument("k", 10**5000, "must be small")).startswith("k = (int of more digits")
    assert len(str(InvalidFile("a.json", "9" * 5000))) < 1100


def test_a_record_that_lost_its_task_is_no_block(tmp_path):
    """A renamed key leaves a record of no kind; whoever counts passes it over."""
    block = {"block": 0, "outcome": "1", "fraction": 1.0, "error": None}
    with Ledger(tmp_path / "ledger.jsonl", {"kind": "mine"}) as ledger:
        for record in (block, {"content": {}}, {"block": 0, "failed": "no memory"}):
            ledger.append(record)
    status = ledger_status(tmp_path / "ledger.jsonl")
    assert (status.tasks, status.blocks, status.failures) == (0, 0, ())
    assert cells(ledger.records) == []
    with pytest.raises(InvalidFile, match="holds no blocks to export"):
        ledger_rows(tmp_path / "ledger.jsonl", read_contents(tmp_path / "ledger.jsonl"), "blocks")
