"""What is stored: files and their hashes, ledgers, typed records, where they came from."""

from expander_theory.results.files import (
    atomic_write,
    canonical_json,
    content_hash,
    files_below,
    read_arrays,
    read_npy,
    read_tensors,
    stored_kind,
    stored_sha256,
    write_arrays,
)
from expander_theory.results.ledger import Ledger, read_ledger
from expander_theory.results.ledger_format import Contents, diff, find_ledger, find_ledgers, read_contents
from expander_theory.results.ledger_merge import merge_ledgers
from expander_theory.results.ledger_status import Status, ledger_status
from expander_theory.results.locks import locked
from expander_theory.results.sae_rows import table_row, with_interval
from expander_theory.results.tables import csv_bytes, table, write_csv
from expander_theory.results.typed import (
    Count,
    Hex,
    Integer,
    Nonnegative,
    Positive,
    Share,
    Size,
    parsed,
    read_json,
    typed,
)

__all__ = [
    "Contents",
    "Count",
    "Hex",
    "Integer",
    "Ledger",
    "Nonnegative",
    "Positive",
    "Share",
    "Size",
    "Status",
    "atomic_write",
    "canonical_json",
    "content_hash",
    "csv_bytes",
    "diff",
    "files_below",
    "find_ledger",
    "find_ledgers",
    "ledger_status",
    "locked",
    "merge_ledgers",
    "parsed",
    "read_arrays",
    "read_contents",
    "read_json",
    "read_ledger",
    "read_npy",
    "read_tensors",
    "stored_kind",
    "stored_sha256",
    "table",
    "table_row",
    "typed",
    "with_interval",
    "write_arrays",
    "write_csv",
]
