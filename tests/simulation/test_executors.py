"""Where blocks run, and what happens when workers fail."""

import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial

import psutil
import pytest
from support import failing_blocks

from expander_theory.base import default_workers
from expander_theory.base.errors import InvalidArgument, MissingResource
from expander_theory.results import BlockRecord, FailureRecord, read_records
from expander_theory.results.ledger import Ledger, read_ledger
from expander_theory.simulation.cells import cells
from expander_theory.simulation.execution.executors import (
    ExecutorLost,
    InlineExecutor,
    dask_executor,
    open_workers,
    processes,
)
from expander_theory.simulation.schedules.schedule import FixedTrials, Ladder
from expander_theory.simulation.sweep import QuarantineWarning, run_sweep
from expander_theory.simulation.trials import Ensemble, Task

UNIFORM = Task(Ensemble("uniform", 24, 60, 4), 1)
COLUMNS = [Ladder(UNIFORM, (2, 5, 8)), Ladder(Task(Ensemble("dense", 24, 60, 24, "gaussian"), 1), (6,))]
FORKING = partial(ProcessPoolExecutor, 2)


def sweep(folder, name="ledger", *, columns=COLUMNS, trials=100, **options):
    with Ledger(folder / name, {"kind": "test"}) as ledger:
        return run_sweep(columns, FixedTrials(trials), ledger, progress=False, **options)


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    return sweep(tmp_path_factory.mktemp("reference"))


def test_every_executor_gives_the_same_counts(tmp_path, reference):
    assert [cell.trials for cell in reference] == [100] * 4
    assert 0 < sum(cell.successes for cell in reference) < 400
    assert sweep(tmp_path, "loky", workers=2) == reference
    assert sweep(tmp_path, "processes", executor=FORKING, workers=2) == reference
    with ThreadPoolExecutor(3) as threads:
        assert sweep(tmp_path, "threads", executor=threads) == reference
        assert threads.submit(int).result() == 0  # left open


def test_workers_have_one_thread_each():
    with open_workers(2) as workers:
        assert workers.submit(os.getenv, "OPENBLAS_NUM_THREADS").result() == "1"


def test_no_more_is_submitted_than_workers_can_take_soon(tmp_path, reference):
    class Counting(ThreadPoolExecutor):
        most = waiting = 0

        def submit(self, *call):
            self.waiting += 1
            self.most = max(self.most, self.waiting)
            future = super().submit(*call)
            future.add_done_callback(lambda _: setattr(self, "waiting", self.waiting - 1))
            return future

    with Counting(1) as executor:
        assert sweep(tmp_path, executor=executor) == reference
        assert executor.most <= 4


def test_blocks_that_raise_once_are_tried_again(tmp_path, monkeypatch, reference):
    for name, options in (("inline", {}), ("processes", {"executor": FORKING, "workers": 2})):
        (tmp_path / f"{name} marks").mkdir()
        monkeypatch.setenv("TEST_MARK", str(tmp_path / f"{name} marks"))
        assert sweep(tmp_path, name, run=failing_blocks.raises_at_first, retries=1, **options) == reference


@pytest.mark.parametrize(
    ("run", "says"),
    [(failing_blocks.raises, r"ValueError: poison \(failing_blocks.py, line"), (failing_blocks.exits, "worker died")],
)
def test_a_poisonous_block_is_left_out_and_the_rest_is_complete(tmp_path, reference, run, says):
    with pytest.warns(QuarantineWarning, match=f"1 block.*: block 1 of uniform m = 24, n = 60, k = 5.*{says}"):
        found = sweep(tmp_path, run=run, executor=FORKING, workers=2)
    assert [cell.trials for cell in found] == [100, 75, 100, 100]
    assert [cell.quarantined for cell in found] == [0, 1, 0, 0]
    assert found[0] == reference[0]
    assert found[2:] == reference[2:]
    (failure,) = read_records(tmp_path / "ledger", FailureRecord)
    assert (failure.block, failure.attempts) == (1, 3)
    assert sweep(tmp_path) == reference  # a later run mends it
    assert sorted(cells(read_ledger(tmp_path / "ledger")[1]), key=str) == sorted(reference, key=str)


def test_a_quarantined_block_ends_its_column_after_its_round(tmp_path):
    """The rounds after it would rest on what is not known."""

    class OneMore:
        def wanted(self, column, seen):
            return {k: min(3, len(blocks) + 1) for k, blocks in seen.items()}

    with Ledger(tmp_path / "l", {}) as ledger, pytest.warns(QuarantineWarning):
        found = run_sweep(COLUMNS, OneMore(), ledger, run=failing_blocks.raises, progress=False)
    assert [cell.trials for cell in found] == [50, 25, 50, 75]
    with Ledger(tmp_path / "l", {}) as ledger:
        assert [cell.trials for cell in run_sweep(COLUMNS, OneMore(), ledger, progress=False)] == [75] * 4


def test_a_killed_worker_is_replaced_and_nothing_is_left_out(tmp_path, monkeypatch, reference):
    monkeypatch.setenv("TEST_MARK", str(tmp_path / "mark"))
    assert sweep(tmp_path, run=failing_blocks.dies_at_first, workers=2) == reference
    assert (tmp_path / "mark").exists()
    assert not read_records(tmp_path / "ledger", FailureRecord)


def test_an_executor_that_cannot_be_replaced_ends_the_sweep(tmp_path, reference):
    with FORKING() as executor, pytest.raises(ExecutorLost, match="what is finished is kept"):
        sweep(tmp_path, executor=executor, run=failing_blocks.exits)
    assert sweep(tmp_path) == reference


def test_an_executor_that_was_shut_down_ends_the_sweep(tmp_path):
    with ThreadPoolExecutor(1) as executor:
        pass
    with pytest.raises(ExecutorLost, match="takes no more work"):
        sweep(tmp_path, executor=executor)


def test_an_executor_that_drops_its_work_ends_the_sweep(tmp_path):
    """As dask's does when its scheduler has gone."""

    class Dropping(InlineExecutor):
        calls = 0

        def submit(self, *call):
            self.calls += 1
            if self.calls < 3:
                return super().submit(*call)
            future = Future()
            future.cancel()
            future.set_running_or_notify_cancel()
            return future

    with pytest.raises(ExecutorLost, match="dropped its work"):
        sweep(tmp_path, executor=Dropping())
    assert len(read_records(tmp_path / "ledger", BlockRecord)) >= 1


def test_workers_that_cannot_start_are_not_blamed_on_the_blocks(tmp_path):
    with pytest.raises(ExecutorLost, match=r"die as soon as they start.*terminated abruptly"):
        sweep(tmp_path, executor=partial(ProcessPoolExecutor, 1, initializer=os._exit, initargs=(1,)))
    assert read_ledger(tmp_path / "ledger")[1] == []


def test_workers_without_this_project_are_not_blamed_on_the_blocks(tmp_path):
    class Elsewhere(Executor):
        def submit(self, *call):
            future = Future()
            future.set_exception(ModuleNotFoundError("No module named 'expander_theory'"))
            return future

    with pytest.raises(ExecutorLost, match=r"cannot run this project's code.*No module named 'expander_theory'"):
        sweep(tmp_path, executor=Elsewhere())
    assert read_ledger(tmp_path / "ledger")[1] == []


def test_workers_of_another_version_are_refused(tmp_path, monkeypatch):
    def submit(self, call, *args):
        with monkeypatch.context() as patch:
            patch.setattr("expander_theory.simulation.execution._dispatch.KERNEL_VERSION", "older")
            return InlineExecutor.submit(self, call, *args)

    executor = type("Older", (InlineExecutor,), {"submit": submit})()
    with pytest.raises(ExecutorLost, match="version older"):
        sweep(tmp_path, executor=executor)


@pytest.mark.parametrize(("options", "name"), [({"workers": 0}, "workers"), ({"retries": -1}, "retries")])
def test_bad_numbers_are_refused(tmp_path, options, name):
    with pytest.raises(InvalidArgument) as caught:
        sweep(tmp_path, **options)
    assert caught.value.name == name


def test_leaving_by_an_exception_ends_the_workers():
    opened = open_workers(2)
    workers = opened.__enter__()
    pid = workers.submit(os.getpid).result()
    workers.submit(time.sleep, 60)
    assert not opened.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_ctrl_c_is_answered_by_the_parent_alone():
    """It reaches the whole process group; workers that answered it would print their tracebacks."""
    executor = processes(1)
    os.kill(executor.submit(os.getpid).result(), signal.SIGINT)
    assert executor.submit(int).result() == 0
    executor.shutdown()


def test_a_dask_cluster_loses_a_worker(tmp_path):
    distributed = pytest.importorskip("distributed")
    expected = sweep(tmp_path, "here", trials=300)
    options = {"threads_per_worker": 1, "processes": True, "dashboard_address": ":0", "silence_logs": 50}
    with (
        distributed.LocalCluster(n_workers=2, **options) as cluster,
        distributed.Client(cluster) as client,
        dask_executor(cluster.scheduler_address) as (executor, threads),
    ):
        assert threads == 2
        doomed = next(iter(client.run(os.getpid).values()))
        killer = threading.Thread(target=kill_after, args=(doomed, tmp_path / "dask", 10))
        killer.start()
        found = sweep(tmp_path, "dask", trials=300, executor=executor, workers=threads, run=failing_blocks.slow)
        killer.join()
        assert doomed not in client.run(os.getpid).values()
    assert found == expected
    assert len(read_ledger(tmp_path / "dask")[1]) == 4 + 4 * 12


def kill_after(pid, ledger, lines):
    """SIGKILL when the ledger has so many lines."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        if ledger.exists() and ledger.read_bytes().count(b"\n") >= lines:
            os.kill(pid, signal.SIGKILL)
            return
        time.sleep(0.01)


def test_a_dask_address_that_does_not_answer():
    pytest.importorskip("distributed")
    begun = time.monotonic()
    with (
        pytest.raises(InvalidArgument, match=r"no dask scheduler answers there within 0\.5 s"),
        dask_executor("tcp://127.0.0.1:9", timeout=0.5),
    ):
        pass
    assert time.monotonic() - begun < 10


@pytest.mark.parametrize("address", ["", "nonsense", "tcp://host", "tcp://host:port", "tcp://:8786"])
def test_what_is_no_address_is_refused(address):
    pytest.importorskip("distributed")
    with pytest.raises(InvalidArgument, match="tcp://host:8786"), dask_executor(address):
        pass


def test_dask_that_is_not_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(MissingResource, match=r"expander-theory\[dask\]"), dask_executor("tcp://127.0.0.1:9"):
        pass


ORPHANS = """
import sys, time
from expander_theory.simulation import open_workers

if __name__ == "__main__":
    with open_workers(2) as workers:
        futures = [workers.submit(time.sleep, 0.01) for _ in range(8)]
        for future in futures:
            future.result()
        print("ready", flush=True)
        busy = [workers.submit(time.sleep, 60) for _ in range(2)] if sys.argv[1] == "busy" else []
        time.sleep(60)
"""


@pytest.mark.parametrize("work", ["busy", "idle"])
def test_workers_leave_within_seconds_of_a_killed_parent(tmp_path, work):
    script = tmp_path / "parent.py"
    script.write_text(ORPHANS)
    parent = subprocess.Popen([sys.executable, str(script), work], stdout=subprocess.PIPE, text=True)
    assert parent.stdout.readline() == "ready\n"
    children = psutil.Process(parent.pid).children(recursive=True)
    assert len(children) >= 2
    parent.kill()
    parent.wait()
    _, alive = psutil.wait_procs(children, timeout=5)
    for process in alive:
        process.kill()
    assert not alive


def test_the_processors_of_a_container_are_its_quota(monkeypatch):
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", "1")
    assert default_workers() == 1
