import json

import pytest

from expander_theory import InvalidFile
from expander_theory.ledger import Ledger, read_ledger

IDENTITY = {"kind": "test", "seed": 0, "sizes": (1, 2)}


def write(path, *records):
    with Ledger(path, IDENTITY) as ledger:
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
    lines = whole.splitlines(keepends=True)
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        complete = sum(length >= len(b"".join(lines[: i + 1])) for i in range(3))
        expected = [{"x": 1}, {"x": 22}][: max(0, complete - 1)]
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
    path.write_bytes(lines[0] + b'{"x": 1\n' + lines[2])
    with pytest.raises(InvalidFile, match="line 2 is damaged"):
        write(path)


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
