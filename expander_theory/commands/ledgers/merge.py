"""``expander ledger merge``."""

from dataclasses import dataclass
from pathlib import Path

import tyro


@dataclass(frozen=True)
class Merge:
    """Unite ledgers of a sweep, such as its shards, into one to be resumed and drawn.

    Contradicting results are refused; a block that failed in one ledger and succeeded in another counts as
    succeeded. What OUT holds already stays in it.
    """

    out: tyro.conf.Positional[Path]
    """A file ending in .jsonl, or a folder, in which ledger.jsonl is written."""
    inputs: tyro.conf.Positional[tuple[Path, ...]]
    """Ledgers, or folders of which every ledger (*.jsonl) is meant."""

    def run(self) -> None:
        from expander_theory.results import find_ledgers, merge_ledgers

        out = self.out if self.out.suffix == ".jsonl" else self.out / "ledger.jsonl"
        inputs = [file for path in self.inputs for file in find_ledgers(path)]
        merged = merge_ledgers(out, inputs)
        left_out = {
            "equal to another": merged.duplicates,
            "equal but for rounding": merged.rounded,
            "failures of blocks that another record settles": merged.mended,
        }
        print(f"{merged.records} records merged from {len(inputs)} ledger{'s' if len(inputs) > 1 else ''}")
        for what, count in left_out.items():
            if count:
                print(f"left out: {count} ({what})")
        for line in merged.shards:
            print(line)
        for path in merged.unfinished:
            print(f"{path} is being written now: merge it again when its run has ended")
        print(f"ledger: {out}")
