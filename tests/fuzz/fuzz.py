"""Damaged and forged files, fed to every reader: ``python tests/fuzz/fuzz.py --cases 10000 --workers 2``.

A case builds one sound file, changes it, and reads it to the point where its content would be used. Right is: refused
by an error of the project (or of the operating system), or accepted and usable. Wrong is any other exception, the death
of the process, more than a few GB of memory, and content that was accepted though it is not what was written and no
hash or checksum was made to fit. The same seed gives the same cases.
"""

from __future__ import annotations

import argparse
import faulthandler
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from pathlib import Path

import numpy as np

MEMORY = 12 << 30
SECONDS = 60
OUTCOMES = ("refused", "accepted", "uncaught", "wrong", "death")


def run(format, numbers, seed, report=lambda text: None):
    """Counts of outcomes, and the text of what went wrong, by case."""
    from fuzz_formats import FORMATS

    from expander_theory.base.errors import ExpanderTheoryError

    counts, faults = Counter(), {}
    with tempfile.TemporaryDirectory() as scratch:
        kind = FORMATS[format](Path(scratch))
        for number in numbers:
            report(f"{number}\n")
            faulthandler.dump_traceback_later(SECONDS, exit=True)
            rng = np.random.default_rng([seed, number])
            expected = kind.change(rng)
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    found = kind.read()
            except (ExpanderTheoryError, OSError) as error:
                counts["refused"] += 1
                if len(str(error)) > 3000:
                    faults[number] = f"a message of {len(str(error))} characters"
            except Exception:
                counts["uncaught"] += 1
                faults[number] = traceback.format_exc()
            else:
                right = expected is None or kind.agrees(found, expected)
                counts["accepted" if right else "wrong"] += 1
                if not right:
                    faults[number] = f"{format} case {number}: accepted content that was not written"
            finally:
                faulthandler.cancel_dump_traceback_later()
    return counts, faults


def _child(format, first, last, seed):
    """In a process of its own: each case's number before it is tried, then the counts."""
    sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    log = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    counts, faults = run(format, range(first, last), seed, lambda text: (log.write(text), log.flush()))
    log.write(json.dumps({"counts": counts, "faults": faults}) + "\n")


def _long(formats, cases, seed):
    """Every format in processes that may die; a dead one costs its case, and the next begins after it."""
    table, bad = [], 0
    for format in formats:
        counts, first, begun = Counter(), 0, time.monotonic()
        while first < cases:
            words = [sys.executable, __file__, "--child", format, str(first), str(min(cases, first + 1000)), str(seed)]
            found = subprocess.run(words, capture_output=True, text=True, check=False)
            lines = found.stdout.splitlines()
            if found.returncode == 0:
                last = json.loads(lines[-1])
                counts.update(last["counts"])
                for number, text in last["faults"].items():
                    print(f"--- {format} case {number} (seed {seed})\n{text}", flush=True)
                    bad += 1
                first += 1000
            else:  # the counts are lost with it: the cases before the one that kills run again
                fatal, said = int(lines[-1]) if lines else first, found.stderr[-3000:]
                print(f"--- {format} case {fatal} (seed {seed}): death ({found.returncode})\n{said}", flush=True)
                counts["death"] += 1
                bad += 1
                if fatal > first:
                    words = [*words[:4], str(first), str(fatal), str(seed)]
                    again = subprocess.run(words, capture_output=True, text=True, check=False)
                    if again.returncode == 0:
                        counts.update(json.loads(again.stdout.splitlines()[-1])["counts"])
                first = fatal + 1
        seconds = round(time.monotonic() - begun)
        table.append([format, sum(counts.values()), *(counts[name] for name in OUTCOMES), seconds])
        print("  ".join(map(str, table[-1])), flush=True)
    from tabulate import tabulate

    print(tabulate(table, headers=["format", "cases", *OUTCOMES, "seconds"], tablefmt="github"))
    return bad


def main():
    if sys.argv[1:2] == ["--child"]:
        _child(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), int(sys.argv[5]))
        return 0
    from fuzz_formats import FORMATS

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=2000, help="of each format")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("formats", nargs="*", metavar="FORMAT", help=f"of {', '.join(FORMATS)}; default: all")
    given = parser.parse_args()
    unknown = set(given.formats) - set(FORMATS)
    if unknown:
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    return 1 if _long(given.formats or FORMATS, given.cases, given.seed) else 0


if __name__ == "__main__":
    sys.exit(main())
