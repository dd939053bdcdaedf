"""A ledger's records as rows of a table for other programs, in CSV or Parquet."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from expander_theory.base import InvalidFile, MissingResource, require, require_choice
from expander_theory.results import (
    BlockRecord,
    Contents,
    FailureRecord,
    Record,
    TaskRecord,
    atomic_write,
    canonical_json,
    fields_of,
    records_of,
)

Rows = list[dict[str, Any]]

KINDS = ("tasks", "blocks", "records")


def is_sweep(contents: Contents) -> bool:
    """Whether a ledger holds, or will hold, trials of tasks."""
    return contents.identity.get("kind") == "sweep" or any(map(is_of_task, contents.records))


def is_of_task(record: Any) -> bool:
    """Whether a record is about a task of a sweep: what it is, or its trials."""
    return isinstance(record, (TaskRecord, BlockRecord, FailureRecord))


def ledger_rows(path: Path, contents: Contents, kind: str) -> Rows:
    """Rows of equal keys, None where a record lacks a field.

    A column holds values of one type: bool, int, float, str, or lists of these. Values that have none in common
    become JSON text.

    Args:
        path: named in errors.
        contents: of the ledger.
        kind: "tasks": counts of every task of a sweep, as :func:`expander_theory.simulation.cell_rows`. "blocks": every
            block of a sweep that is done, with its task's content. "records": every record with its kind as
            "record", nested fields as "outer.inner".

    Raises:
        InvalidArgument: an unknown kind.
        InvalidFile: nothing of the kind is there, or records do not fit together.
    """
    from expander_theory.simulation.cells import InvalidRecord

    require_choice("kind", kind, KINDS)
    try:
        rows = {"tasks": _task_rows, "blocks": _block_rows, "records": _record_rows}[kind](contents.records)
    except InvalidRecord as error:
        raise InvalidFile(path, str(error)) from None
    if not rows:
        raise InvalidFile(path, f"holds no {kind} to export")
    return _uniform(rows)


def _task_rows(records: Sequence[Any]) -> Rows:
    from expander_theory.simulation.cells import cell_rows, cells

    counted = cells(records)
    return [{"task": cell.task.id, **row} for cell, row in zip(counted, cell_rows(counted), strict=True)]


def _block_rows(records: Sequence[Any]) -> Rows:
    from expander_theory.simulation.cells import blocks_of

    about = {record.task: _flat(record.content) for record in records_of(records, TaskRecord)}
    rows = []
    for task, blocks in blocks_of(records).items():
        for block, result in sorted(blocks.items()):
            counts = {"trials": len(result.outcome), "successes": result.outcome.count("1"), "outcome": result.outcome}
            means = {"fraction": result.fraction, "error": result.error}
            rows.append({"task": task, **about.get(task, {}), "block": block, **counts, **means})
    return rows


def _record_rows(records: Sequence[Any]) -> Rows:
    return [
        _flat({"record": record.KIND, **fields_of(record)} if isinstance(record, Record) else record)
        for record in records
    ]


def _flat(record: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in record.items():
        nested = isinstance(value, dict) and value
        for name, inner in (_flat(value, f"{prefix}{key}.") if nested else {f"{prefix}{key}": value}).items():
            require(name not in flat, "record", canonical_json(record), f"has two fields that flatten to {name}")
            flat[name] = inner
    return flat


def _uniform(rows: Rows) -> Rows:
    columns = {}
    for name in dict.fromkeys(name for row in rows for name in row):
        values = [_plain(row.get(name)) for row in rows]
        kind = _type(values)
        columns[name] = [None if value is None else _cast(value, kind) for value in values]
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def _type(values: Iterable[Any]) -> str:
    """Type of a column: "bool", "int", "float", "str", one of these in "list of ", or "json" for anything else."""
    given = [value for value in values if value is not None]
    kinds = {type(value) for value in given}
    if kinds == {list}:
        inner = _type(item for value in given for item in value)
        return inner if inner == "json" else f"list of {inner}"
    if kinds == {int}:
        return "int" if all(-(2**63) <= value < 2**63 for value in given) else "json"
    if kinds and kinds <= {int, float}:
        return "float" if all(isinstance(value, float) or abs(value) <= 2**53 for value in given) else "json"
    return "bool" if kinds == {bool} else "str" if kinds <= {str} else "json"


def _cast(value: Any, kind: str) -> Any:
    if kind == "json":
        return canonical_json(value)
    if kind.startswith("list of "):
        inner = kind.removeprefix("list of ")
        return [None if item is None else _cast(item, inner) for item in value]
    return float(value) if kind == "float" else value


def csv_rows(rows: Rows) -> Rows:
    """Rows for a CSV file, where lists are JSON text."""
    return [{k: canonical_json(v) if isinstance(v, list) else v for k, v in row.items()} for row in rows]


def write_parquet(path: Path, rows: Rows, contents: Contents) -> None:
    """Write rows of :func:`ledger_rows` atomically.

    The schema's metadata has an entry "expander-theory": identity, provenance and content hash of the ledger, as JSON.

    Raises:
        MissingResource: pyarrow is not installed.
        OSError: the disk is full or read-only; ``path`` is unchanged.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ModuleNotFoundError:
        raise MissingResource("Parquet needs pyarrow: run `pip install 'expander-theory[parquet]'`") from None
    scalars = {"bool": pyarrow.bool_(), "int": pyarrow.int64(), "float": pyarrow.float64(), "str": pyarrow.string()}

    def arrow_type(kind: str) -> pyarrow.DataType:
        return scalars[kind] if kind in scalars else pyarrow.list_(arrow_type(kind.removeprefix("list of ")))

    about = {"identity": contents.identity, "provenance": contents.provenance, "sha256": contents.sha256}
    schema = pyarrow.schema(
        [(name, arrow_type(_type(row[name] for row in rows))) for name in rows[0]],
        metadata={"expander-theory": json.dumps(about, sort_keys=True)},
    )
    buffer = BytesIO()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows, schema=schema), buffer)
    atomic_write(path, buffer.getvalue())
