"""Ledgers under faults of the machine: killed and rival processes, full and read-only disks."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from expander_theory import InvalidFile
from expander_theory.results.ledger import Ledger, being_written, read_ledger

IDENTITY = {"kind": "test"}
PROGRAM = """
import sys
from expander_theory.results import Ledger
with Ledger(sys.argv[1], {"kind": "test"}) as ledger:
    for x in range(len(ledger.records), int(sys.argv[2])):
        ledger.append({"x": x, "text": "." * 50})
        print(x, flush=True)
    print("done", flush=True)
    if sys.argv[3:] == ["wait"]:
        sys.stdin.read()
"""


def start(path, count, *words, **options):
    command = [sys.executable, "-c", PROGRAM, str(path), str(count), *words]
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options
    )


def indices(path):
    return [record["x"] for record in read_ledger(path)[1]]


def resumed(path, count):
    assert start(path, count).wait() == 0
    return indices(path) == list(range(count))


def test_a_second_process_is_kept_out_until_the_first_dies(tmp_path):
    path = tmp_path / "ledger.jsonl"
    holder = start(path, 3, "wait")
    while holder.stdout.readline() != "done\n":
        assert holder.poll() is None
    assert being_written(path)
    second = start(path, 5)
    assert second.wait() != 0
    assert f"{path}: another process is writing to this ledger" in second.stderr.read()
    assert indices(path) == [0, 1, 2]  # reading is allowed
    holder.kill()
    holder.wait()
    assert not being_written(path)
    assert resumed(path, 5)


def test_asking_whether_it_is_written_locks_and_makes_nothing(tmp_path):
    path = tmp_path / "ledger.jsonl"
    assert not being_written(path)
    assert list(tmp_path.iterdir()) == []
    with Ledger(path, IDENTITY):
        assert being_written(path)
        with pytest.raises(InvalidFile, match="another process"), Ledger(path, IDENTITY):
            pass
    assert not being_written(path)


def test_a_killed_process_loses_nothing_that_was_appended(tmp_path):
    path = tmp_path / "ledger.jsonl"
    running = start(path, 10**6)
    while int(running.stdout.readline()) < 200:
        pass
    running.send_signal(signal.SIGKILL)
    told = max([200, *(int(line) for line in running.stdout.read().split("\n")[:-1])])
    running.wait()
    kept = indices(path)
    assert kept == list(range(len(kept)))
    assert len(kept) > told
    assert resumed(path, len(kept) + 10)


@pytest.mark.parametrize("limit", [50, 1500, 4000])
def test_a_file_size_limit_loses_nothing_and_names_the_ledger(tmp_path, limit):
    import resource

    path = tmp_path / "ledger.jsonl"
    failing = start(path, 1000, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)))
    told, error = failing.communicate()
    assert f"File too large: '{path}'" in error
    assert path.stat().st_size <= limit
    written = told.split()
    if written:
        assert indices(path) == list(range(len(written)))
    else:
        assert limit == 50  # not even the header fits
    assert resumed(path, len(written) + 20)


def test_no_space_for_the_header(tmp_path):
    path = tmp_path / "ledger.jsonl"
    path.symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left on device") as caught, Ledger(path, IDENTITY):
        pass
    assert caught.value.filename == str(path)


def _can_mount():
    probe = ["unshare", "--mount", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    return bool(shutil.which("unshare")) and subprocess.run(probe, capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(not _can_mount(), reason="needs the right to mount a small file system")
def test_a_full_disk_that_is_then_made_room_on(tmp_path):
    script = """
        set -u; disk=$1; shift
        mount -t tmpfs -o size=16k tmpfs "$disk"
        "$@" "$disk/ledger.jsonl" 1000; echo "code $?"
        mount -o remount,size=1m "$disk"
        "$@" "$disk/ledger.jsonl" 1000 | wc -l
        cp "$disk/ledger.jsonl" "$disk.jsonl"
    """
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["unshare", "--mount", "sh", "-c", script, "sh", disk, sys.executable, "-c", PROGRAM]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert f"No space left on device: '{disk}/ledger.jsonl'" in done.stderr
    *first, code, second = done.stdout.split("\n")[:-1]
    assert code == "code 1"
    assert len(first) > 50
    assert int(second) == 1000 - len(first) + 1  # the rest and "done": nothing was lost or done twice
    assert indices(f"{disk}.jsonl") == list(range(1000))


def unprivileged():
    """The start of a command that obeys permissions, for root too."""
    if os.geteuid():
        return []
    if not shutil.which("setpriv"):
        pytest.skip("root needs setpriv to give up its privilege of writing anywhere")
    return ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]


@pytest.mark.parametrize("protected", ["file", "folder", "new folder"])
def test_without_the_right_to_write(tmp_path, protected):
    folder = tmp_path / "results"
    path = folder / "ledger.jsonl"
    with Ledger(path, IDENTITY) as ledger:
        ledger.append({"x": 0})
    before = path.read_bytes()
    locked = path if protected == "file" else folder
    target = folder / "new" / "ledger.jsonl" if protected == "new folder" else path
    if protected == "folder":
        path.with_name(".ledger.jsonl.lock").unlink()
    locked.chmod(0o444 if protected == "file" else 0o555)
    try:
        command = [*unprivileged(), sys.executable, "-c", PROGRAM, str(target), "5"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    finally:
        locked.chmod(0o755)
    named = Path(target).parent if protected == "new folder" else path
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == f"PermissionError: [Errno 13] Permission denied: '{named}'"
    assert path.read_bytes() == before
    assert resumed(path, 5) if protected != "new folder" else not target.exists()


def test_the_command_line_names_what_it_may_not_write_and_exits_with_2(tmp_path):
    with Ledger(tmp_path / "in.jsonl", IDENTITY):
        pass
    out = tmp_path / "results" / "ledger.jsonl"
    out.parent.mkdir()
    out.parent.chmod(0o555)
    try:
        command = [*unprivileged(), sys.executable, "-m", "expander_theory.cli", "ledger", "merge"]
        done = subprocess.run([*command, out, tmp_path / "in.jsonl"], capture_output=True, text=True, check=False)
    finally:
        out.parent.chmod(0o755)
    assert (done.returncode, done.stderr) == (2, f"expander: error: {out}: Permission denied\n")
    assert list(out.parent.iterdir()) == []
