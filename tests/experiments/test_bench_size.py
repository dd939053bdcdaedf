"""The benchmark of sizes measures every work, and computes what dense SAEs need."""

from experiments.bench.size.__main__ import backends, dense_bytes, growth
from experiments.bench.size.measuring import WORKS, Asked, measure


def test_every_work_is_measured_and_shown():
    sizes = {"m": 16, "n": 64, "d": 3, "k": 4, "batch": 20, "repeats": 1, "threads": 1, "seed": 0}
    records = []
    for work in WORKS:
        found = measure(Asked(work=work, **sizes))
        assert found.seconds[0] > 0
        assert found.peak > 10**6
        records.append({"work": work, "n": 64, **vars(found)})
    by_work = {one["work"]: one for one in records}
    assert set(by_work["OMP code"]["beside"]) == {"tile", "push"}
    assert dense_bytes(16, 64) == 4 * 4 * 16 * 64
    assert growth(records, 16, 20).count("\n") == backends(records, 20).count("\n") == 2
