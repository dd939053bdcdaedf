"""Ledgers of sweeps and of SAEs, of the present format and of the one before, to be damaged."""

from __future__ import annotations

import json

from fuzz_format import Format
from fuzz_mutations import restructured
from support.suite_records import record, write_suite

from expander_theory.base.errors import ExpanderTheoryError
from expander_theory.results.ledger import Ledger
from expander_theory.results.ledger_format import read_contents, record_line
from expander_theory.results.ledger_merge import merge_ledgers
from expander_theory.results.ledger_status import ledger_status
from expander_theory.simulation.export import ledger_rows
from expander_theory.simulation.schedules.schedule import FixedTrials, Ladder
from expander_theory.simulation.sweep import run_certificates, run_sweep
from expander_theory.simulation.trials import Ensemble, Task

SWEEP = {"kind": "sweep", "seed": 0}


class _Ledger(Format):
    name = "ledger.jsonl"

    def forge(self, rng):
        lines = self.path.read_bytes().split(b"\n")[:-1]
        at = int(rng.integers(len(lines)))
        text = restructured({k: v for k, v in json.loads(lines[at]).items() if k != "crc32"}, rng)
        try:
            forged = record_line(json.loads(text))[:-1] if rng.random() < 0.8 else text.encode(errors="surrogatepass")
        except (ValueError, RecursionError, AttributeError, TypeError):
            forged = text.encode(errors="surrogatepass")
        self.path.write_bytes(b"\n".join([*lines[:at], forged, *lines[at + 1 :], b""]))
        return None

    def agrees(self, found, expected):
        """A ledger that is cut short is one that was interrupted."""
        return expected[: len(found)] == found

    def used(self):
        """Everything that is done with any ledger."""
        ledger_status(self.path)
        contents = read_contents(self.path)
        for kind in ("records", "tasks", "blocks"):
            try:
                ledger_rows(self.path, contents, kind)
            except ExpanderTheoryError:
                continue
        return [record_line(record) for record in (contents.identity, *contents.stored)]


class _OldLedger(_Ledger):
    """A ledger of format 2, without checksums, and with records that do not say what they are."""

    guarded = False

    def __init__(self, folder):
        super().__init__(folder)
        path = self.sound / self.name
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        for line in lines:
            del line["crc32"]
            if line.pop("record", None) == "null":
                line["null"] = line.pop("name")
            line.pop("version", None)
        lines[0]["ledger"] = 2
        path.write_text("".join(json.dumps(line, sort_keys=True, separators=(",", ":")) + "\n" for line in lines))

    def forge(self, rng):
        lines = self.path.read_bytes().split(b"\n")[:-1]
        at = int(rng.integers(len(lines)))
        forged = restructured(json.loads(lines[at]), rng).encode(errors="surrogatepass")
        self.path.write_bytes(b"\n".join([*lines[:at], forged, *lines[at + 1 :], b""]))
        return None


class Sweep(_Ledger):
    columns = (Ladder(Task(Ensemble("uniform", 8, 16, 2), 1), (1, 2)),)

    def make(self, path):
        with Ledger(path, SWEEP) as ledger:
            run_sweep(self.columns, FixedTrials(25), ledger, progress=False)
            run_certificates([self.columns[0].base.ensemble], 1, ledger, progress=False)

    def read(self):
        from expander_theory.plotting import figure_sources

        sha256 = self.used()
        merge_ledgers(self.place / "merged.jsonl", [self.path])
        figure_sources()["phase_diagram"].found(self.place)
        with Ledger(self.path, SWEEP) as ledger:
            run_sweep(self.columns, FixedTrials(25), ledger, progress=False)
        return sha256


class OldSweep(_OldLedger, Sweep):
    pass


class Suite(_Ledger):
    name = "saes/ledger.jsonl"

    def make(self, path):
        path.parent.mkdir()
        dense, some = record("dense", 0, 0.95), [record(f"d{d}", 0, 0.8 + d / 100, d=d) for d in (2, 8)]
        members = [(made.variant, made) for made in (dense, *some)]
        write_suite(path, {"frontier": members, "small dense": members, "sparsity": members, "controls": members})

    def read(self):
        from expander_theory.plotting import figure_sources
        from paper_figures.claims import findings

        sha256 = self.used()
        for name in ("storage_frontier", "sparsity", "small_dense", "trained_geometry"):
            found = figure_sources()[name].found(self.place)
            if found is not None:
                found[1].data_files()
        findings(self.place)
        return sha256


class OldSuite(_OldLedger, Suite):
    pass
