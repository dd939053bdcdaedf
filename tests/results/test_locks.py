"""One writer, whatever the spelling of the path, and where the file system cannot lock."""

import errno
import fcntl
import json
import os
import socket
import subprocess
import sys

import pytest

from expander_theory import InvalidArgument, InvalidFile
from expander_theory.results.ledger import Ledger, being_written, read_ledger
from expander_theory.results.ledger_merge import merge_ledgers
from expander_theory.results.ledger_status import ledger_status
from expander_theory.results.locks import lock_path

IDENTITY = {"kind": "test"}


@pytest.fixture
def ledger(tmp_path):
    path = tmp_path / "real" / "ledger.jsonl"
    with Ledger(path, IDENTITY) as opened:
        opened.append({"x": 1})
    return path


@pytest.fixture
def no_flock(monkeypatch):
    """A file system that cannot lock, as some of clusters."""

    def flock(*_):
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", flock)


def spelled(path, how):
    folder = path.parent.parent
    if how == "link to the file":
        (folder / "link.jsonl").symlink_to(path)
        return folder / "link.jsonl"
    if how == "link to a link":
        (folder / "a").symlink_to(path)
        (folder / "b").symlink_to(folder / "a")
        return folder / "b"
    if how == "link to the folder":
        (folder / "other").symlink_to(path.parent)
        return folder / "other" / path.name
    if how == "hard link":
        os.link(path, folder / "hard.jsonl")
        return folder / "hard.jsonl"
    return path.parent / ".." / "real" / path.name


SPELLINGS = ("link to the file", "link to a link", "link to the folder", "hard link", "dots")


@pytest.mark.parametrize("how", SPELLINGS)
def test_two_names_of_a_ledger_have_one_writer(ledger, how):
    other = spelled(ledger, how)
    for first, second in ((ledger, other), (other, ledger)):
        with Ledger(first, IDENTITY) as opened:
            assert being_written(second)
            with pytest.raises(InvalidFile, match="another process is writing"), Ledger(second, IDENTITY):
                pass
            opened.append({"x": 2})
    assert not being_written(other)
    assert [record["x"] for record in read_ledger(other)[1]] == [1, 2, 2]


@pytest.mark.parametrize("how", SPELLINGS)
def test_a_ledger_is_not_merged_into_itself(ledger, how):
    before = ledger.read_bytes()
    with pytest.raises(InvalidArgument, match="must not be the ledger that is written"):
        merge_ledgers(spelled(ledger, how), [ledger])
    assert ledger.read_bytes() == before


def test_a_rewritten_ledger_leaves_the_link_that_led_to_it(ledger):
    link = spelled(ledger, "link to the file")
    ledger.write_text('{"identity":{"kind":"test"},"ledger":1}\n{"x":1}\n')
    with Ledger(link, IDENTITY) as opened:
        opened.append({"x": 2})
    assert link.is_symlink()
    assert [record["x"] for record in read_ledger(ledger)[1]] == [1, 2]


def test_the_error_names_the_process(ledger):
    with Ledger(ledger, IDENTITY):
        words = [
            sys.executable,
            "-c",
            "import sys; from expander_theory.results import Ledger\nwith Ledger(sys.argv[1], {'kind': 'test'}): pass",
            str(ledger),
        ]
        second = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (
        f"another process is writing to this ledger (process {os.getpid()} on {socket.gethostname()})" in second.stderr
    )


def test_without_locks_a_file_keeps_others_out(ledger, no_flock):
    assert not being_written(ledger)
    with Ledger(ledger, IDENTITY) as opened:
        opened.append({"x": 2})
        assert being_written(ledger)
        with (
            pytest.raises(InvalidFile, match=rf"process {os.getpid()} on .*lock file .*\.soft says.*delete"),
            Ledger(ledger, IDENTITY),
        ):
            pass
    assert not being_written(ledger)
    assert ledger_status(ledger).contents.records == [{"x": 1}, {"x": 2}]


def left_behind(ledger, **owner):
    marker = lock_path(ledger).with_name(f"{lock_path(ledger).name}.soft")
    marker.write_text(json.dumps({"pid": 2**22 + 1, "host": socket.gethostname(), "since": 0, **owner}))
    return marker


def test_without_locks_a_dead_process_of_this_machine_does_not_block(ledger, no_flock):
    left_behind(ledger)
    with Ledger(ledger, IDENTITY) as opened:
        opened.append({"x": 2})
    assert len(read_ledger(ledger)[1]) == 2


def test_without_locks_a_job_of_another_machine_is_named_with_the_age_of_its_lock(ledger, no_flock):
    marker = left_behind(ledger, host="node17", pid=4711)
    os.utime(marker, (0, 0))
    with pytest.raises(InvalidFile, match=rf"process 4711 on node17.*{marker}.* days old"), Ledger(ledger, IDENTITY):
        pass
    assert being_written(ledger)
    assert len(read_ledger(ledger)[1]) == 1
    marker.unlink()
    with Ledger(ledger, IDENTITY):
        pass


def test_a_damaged_lock_file_is_nobodys(ledger, no_flock):
    left_behind(ledger).write_bytes(b"\xff[[[")
    with pytest.raises(InvalidFile, match="delete the lock file"), Ledger(ledger, IDENTITY):
        pass
