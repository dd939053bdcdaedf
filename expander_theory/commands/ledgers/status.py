"""``expander ledger status``."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tyro

from expander_theory.base import require
from expander_theory.results import table

if TYPE_CHECKING:
    from expander_theory.results import Status


@dataclass(frozen=True)
class ShowStatus:
    """Show what ledgers hold: results, failures, writers, and where results come from."""

    paths: tyro.conf.Positional[tuple[Path, ...]]
    """Ledgers, or folders that hold some."""

    def run(self) -> None:
        from expander_theory.results import find_ledgers, ledger_status

        require(len(self.paths) > 0, "paths", "none", "must name at least one ledger")
        ledgers = [file for path in self.paths for file in find_ledgers(path)]
        print("\n\n".join(f"{path}\n\n{_tables(ledger_status(path))}" for path in ledgers))


def _tables(status: "Status") -> str:
    tables = [table([{"what": what, "found": found} for what, found in _facts(status)])]
    if status.failures:
        rows: list[dict[str, Any]] = [
            {"failed with": f.error, "blocks": f.blocks, "for example": f"task {f.task[:12]}, block {f.block}"}
            for f in status.failures
        ]
        tables.append(f"Quarantined; the same command tries them again\n\n{table(rows)}")
        tables += [f.traceback.rstrip() for f in status.failures[:_TRACEBACKS] if f.traceback]
    runs = [_run(entry) for entry in status.contents.provenance]
    if runs:
        tables.append(f"Where the records come from\n\n{table(runs)}")
    return "\n\n".join(tables)


def _facts(status: "Status") -> list[tuple[str, object]]:
    from expander_theory.simulation import is_sweep

    contents = status.contents
    facts: list[tuple[str, object]] = [
        ("kind", contents.identity.get("kind", "not named")),
        *((f"identity: {name}", _text(value)) for name, value in contents.identity.items() if name != "kind"),
        ("records", len(contents.records)),
    ]
    if is_sweep(contents):
        facts += [("tasks", status.tasks), ("blocks", status.blocks), ("trials", status.trials)]
        facts.append(("quarantined blocks", sum(failure.blocks for failure in status.failures)))
    torn = f"{contents.torn} bytes, " + ("being written" if status.being_written else "the next run cuts them off")
    return [
        *facts,
        ("last write", status.written.strftime("%Y-%m-%d %H:%M:%S UTC")),
        ("being written now", "yes, by another process" if status.being_written else "no"),
        ("torn last line", torn if contents.torn else "no"),
        ("format", contents.version),
        ("checksums", "every line agrees with its own" if contents.checksums else "none: written by an older release"),
        ("content sha256", contents.sha256),
    ]


def _run(entry: dict[str, Any]) -> dict[str, Any]:
    packages = entry.get("packages", {})
    numerics = (f"{name} {packages[name]}" for name in ("numpy", "numba", "torch") if name in packages)
    row = {
        "time": entry.get("time", ""),
        "version": packages.get("expander-theory", ""),
        "commit": _commit(entry.get("commit")),
        "packages": ", ".join(numerics),
        "python": entry.get("python", ""),
        "processor": entry.get("processor", ""),
        "shard": entry.get("shard", ""),
        "arguments": _text(" ".join(entry.get("arguments", []))),
    }
    return row


def _commit(name: str | None) -> str:
    commit, _, dirty = (name or "none").partition("-")
    return commit[:12] + ("+changes" if dirty else "")


def _text(value: Any) -> str:
    from expander_theory.results import canonical_json

    text = value if isinstance(value, str) else canonical_json(value)
    return text if len(text) <= _WIDTH else text[: _WIDTH - 4] + " ..."


_WIDTH = 100
_TRACEBACKS = 3  # of the commonest errors
