"""The cache of compiled loops may be missing, full or damaged: results are the same, and one line says what to do."""

import os
import subprocess
import sys

import pytest

from expander_theory.base.jit import cache_folder

PROGRAM = """
import numpy as np
{before}
from expander_theory import uniform_mask
mask = uniform_mask(16, 40, 3, seed=0)
from expander_theory.dictionaries import column_overlaps
print("answer", int(column_overlaps(mask).max()))
"""
NOWHERE = "import numba.core.caching as c; c.CacheImpl._locator_classes = []"
FULL = """
import numba.core.caching as c, os
def full(self, path):
    raise OSError(28, "No space left on device")
c.IndexDataCacheFile._open_for_write = full
"""


def run(folder, before="", **environment):
    words = [sys.executable, "-c", PROGRAM.format(before=before)]
    found = subprocess.run(
        words,
        capture_output=True,
        text=True,
        env={**os.environ, "NUMBA_CACHE_DIR": str(folder), **environment},
        check=False,
    )
    assert found.returncode == 0, found.stderr
    assert found.stdout.startswith("answer "), found.stdout
    return found.stdout, found.stderr


@pytest.fixture
def filled(tmp_path):
    return run(tmp_path)[0], tmp_path


def test_no_folder_for_the_cache(tmp_path, filled):
    answer, errors = run(tmp_path / "x", NOWHERE)
    assert answer == filled[0]
    assert errors.count("CompileCacheWarning") == 1
    assert "NUMBA_CACHE_DIR" in errors


def test_a_full_disk(tmp_path, filled):
    answer, errors = run(tmp_path / "new", FULL)
    assert answer == filled[0]
    assert errors.count("No space left on device") == 1
    assert str(tmp_path / "new") in errors
    assert "NUMBA_CACHE_DIR" in errors


@pytest.mark.parametrize("damage", ["empty", "half", "noise"])
@pytest.mark.parametrize("suffix", [".nbi", ".nbc"])
def test_a_damaged_entry_is_replaced(filled, suffix, damage):
    answer, folder = filled
    files = sorted(folder.rglob(f"*{suffix}"))
    assert files
    for path in files:
        whole = path.read_bytes()
        path.write_bytes({"empty": b"", "half": whole[: len(whole) // 2], "noise": b"\x80\x04garbage" * 9}[damage])
    again, errors = run(folder)
    assert again == answer
    assert "damaged compiled loops" in errors
    assert run(folder) == (answer, "")


def test_doctor_knows_the_place(capsys):
    from expander_theory.commands.doctor import Doctor

    place, writable = cache_folder()
    Doctor().run()
    line = next(line for line in capsys.readouterr().out.splitlines() if "compiled loops" in line)
    assert str(place) in line
    assert writable == (" ok" in line)
