"""Where text comes from: the default enwik8, .txt and .jsonl files, and data sets of the ``datasets`` package."""

from __future__ import annotations

import codecs
import gzip
import hashlib
import importlib
import json
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast

from expander_theory.errors import InvalidArgument, InvalidFile, MissingResource, require
from sae_bridge.resources import TEXT, find

HELD_OUT_SHARE = 10
"""One document in this many is held out, decided by a hash of its text: copies fall on the same side."""

_SHORTEST_ARTICLE = 2000  # characters of wiki markup: leaves out redirects and stubs
_SHORTEST_LINE = 40  # characters: leaves out headings and list items
_NAMESPACE = "{http://www.mediawiki.org/xml/export-0.3/}"
_HUB = re.compile(r"hf:(?P<name>[^:]+)(:(?P<split>[^:\[]+(\[[^\]]*\])?)?)?(:(?P<field>.+))?")
_MARKS = {codecs.BOM_UTF16_LE: "UTF-16", codecs.BOM_UTF16_BE: "UTF-16"}


@dataclass(frozen=True)
class Document:
    """A text, or wiki markup that is stripped when it is read."""

    raw: str
    is_wiki: bool = False

    @cached_property
    def sha256(self) -> str:
        return hashlib.sha256(self.raw.encode()).hexdigest()

    @property
    def held_out(self) -> bool:
        return int(self.sha256[:8], 16) % HELD_OUT_SHARE == 0

    @property
    def text(self) -> str:
        return _prose(self.raw) if self.is_wiki else self.raw


def read_documents(name: str) -> Iterator[Document]:
    """The documents of one source.

    Args:
        name: "enwik8"; ``hf:NAME[:SPLIT[:FIELD]]`` (by default the field "text" of the split "train", which may
            be a slice such as ``train[:10000]``); or the path of a ``.txt`` file (one document), a ``.jsonl`` file
            (a document a line, in its field "text") or a folder of both, all in UTF-8.

    Raises:
        MissingResource: enwik8 has not been fetched, or the package ``datasets`` is not installed.
        InvalidFile: a missing file, or one that is not UTF-8.
        InvalidArgument: a data set that cannot be loaded, or has no such field.
    """
    if name == "enwik8":
        return _enwik8()
    return _hub(name) if name.startswith("hf:") else _files(Path(name))


def _files(path: Path) -> Iterator[Document]:
    if path.is_dir():
        inside = sorted(p for p in path.rglob("*") if p.suffix in (".txt", ".jsonl"))
        if not inside:
            raise InvalidFile(path, "holds no .txt or .jsonl file")
        for file in inside:
            yield from _files(file)
        return
    try:
        with path.open("rb") as file:
            if path.suffix == ".jsonl":
                yield from _lines(path, file)
            else:
                text = _decoded(path, file.read(), 0)
                yield Document(text.replace("\r\n", "\n").replace("\r", "\n"))
    except FileNotFoundError:
        raise InvalidFile(path, "no such text file") from None


def _lines(path: Path, file: Any) -> Iterator[Document]:
    offset = 0
    for number, line in enumerate(file, 1):
        text = _decoded(path, line, offset)
        offset += len(line)
        if text.strip():
            yield Document(_text_field(path, number, text))


def _decoded(path: Path, data: bytes, offset: int) -> str:
    """UTF-8 text that begins at byte ``offset`` of the file."""
    start = data.removeprefix(codecs.BOM_UTF8) if offset == 0 else data
    try:
        return start.decode()
    except UnicodeDecodeError as error:
        place = offset + len(data) - len(start) + error.start
        mark = _MARKS.get(data[:2], "") if offset == 0 else ""
        like = f"; it begins as {mark} does" if mark else ""
        problem = f"is not UTF-8 text: byte {start[error.start]:#04x} at offset {place} ({error.reason}){like}"
        raise InvalidFile(path, f"{problem}; convert it first, as `iconv -t UTF-8` does") from None


def _text_field(path: Path, number: int, line: str) -> str:
    try:
        text = json.loads(line)["text"]
        text.encode()
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        problem = f'line {number} is no JSON object with a string "text" ({type(error).__name__}: {error})'
        raise InvalidFile(path, problem) from None
    return text


def _hub(name: str) -> Iterator[Document]:
    """Rows of a data set, one document each; empty texts are passed over."""
    found = _HUB.fullmatch(name)
    if found is None:
        raise InvalidArgument("text", repr(name), "must be hf:NAME, hf:NAME:SPLIT or hf:NAME:SPLIT:FIELD")
    source, split, field = found["name"], found["split"] or "train", found["field"] or "text"
    try:
        datasets: Any = importlib.import_module("datasets")
    except ModuleNotFoundError:
        raise MissingResource(f"{name} needs the package datasets: run `pip install datasets`") from None
    try:
        rows = datasets.load_dataset(source, split=split)
    except Exception as error:  # no network, no such name, no such split: the library raises almost anything
        said = (str(error).strip() or "-").splitlines()[0]
        raise InvalidArgument("text", name, f"cannot be loaded: {type(error).__name__}: {said}") from error
    columns = ", ".join(rows.column_names)
    require(field in rows.column_names, "text", name, f"has no field {field!r}; it has {columns}")
    for number, text in enumerate(rows[field]):
        require(isinstance(text, str), "text", name, f"its field {field!r} holds no string in row {number}")
        if text.strip():
            yield Document(text)


def _enwik8() -> Iterator[Document]:
    """Articles of enwik8 in wiki markup; the archive's last page is cut short and is left out."""
    parser = ElementTree.XMLPullParser(["end"])
    with gzip.open(find(TEXT), "rb") as file:
        while block := file.read(1 << 20):
            parser.feed(block)
            for _, element in cast(Iterator[tuple[str, ElementTree.Element]], parser.read_events()):
                if element.tag != f"{_NAMESPACE}page":
                    continue
                title = element.findtext(f"{_NAMESPACE}title") or ""
                text = element.findtext(f"{_NAMESPACE}revision/{_NAMESPACE}text") or ""
                element.clear()
                redirect = text[:9].lower() == "#redirect"
                if ":" not in title and len(text) >= _SHORTEST_ARTICLE and not redirect:
                    yield Document(text, is_wiki=True)


def _prose(markup: str) -> str:
    """The running text of a wiki page: no tables, templates, images, headings or lists."""
    import mwparserfromhell

    page = mwparserfromhell.parse(markup)
    for table in page.filter_tags(recursive=False, matches=lambda tag: tag.tag == "table"):
        page.remove(table)
    for link in page.filter_wikilinks(recursive=False):
        if ":" in str(link.title):  # images, categories, other languages
            page.remove(link)
    text = page.strip_code(normalize=True, collapse=True)
    return "\n".join(line for line in map(str.strip, text.splitlines()) if len(line) >= _SHORTEST_LINE)
