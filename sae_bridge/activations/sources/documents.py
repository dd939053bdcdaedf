"""Where text comes from: the default enwik8, .txt and .jsonl files, and data sets of the ``datasets`` package."""

from __future__ import annotations

import gzip
import hashlib
import importlib
import re
import xml.etree.ElementTree as ElementTree
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict, cast

from expander_theory.base import InvalidArgument, InvalidFile, MissingResource, require
from expander_theory.results import files_below, parsed, typed
from sae_bridge.activations.sources._text_files import Span, decoded, opened, sections, unified
from sae_bridge.models import TEXT, find

HELD_OUT_SHARE = 10
"""One document in this many is held out, decided by a hash of its text: copies fall on the same side."""

_SHORTEST_ARTICLE = 2000  # characters of wiki markup: leaves out redirects and stubs
_SHORTEST_LINE = 40  # characters: leaves out headings and list items
_NAMESPACE = "{http://www.mediawiki.org/xml/export-0.3/}"
_HUB = re.compile(r"hf:(?P<name>[^:]+)(:(?P<split>[^:\[]+(\[[^\]]*\])?)?)?(:(?P<field>.+))?")


class Document:
    """A text, or wiki markup that is stripped when it is read; held as its hash and the way to read it again.

    Args:
        read: gives the text, the same whenever it is asked.
        is_wiki: whether it is markup.
        sha256: its hash (hex) where it is known.

    Attributes:
        sha256: of the text as it is stored.
    """

    __slots__ = ("_read", "is_wiki", "sha256")

    def __init__(self, read: Callable[[], str], is_wiki: bool = False, sha256: str | None = None) -> None:
        self._read, self.is_wiki = read, is_wiki
        self.sha256 = _sha256([read()]) if sha256 is None else sha256

    @property
    def held_out(self) -> bool:
        return int(self.sha256[:8], 16) % HELD_OUT_SHARE == 0

    @property
    def text(self) -> str:
        """The text, read again.

        Raises:
            InvalidFile: its file has changed since it was listed.
        """
        raw = self._read()
        if _sha256([raw]) != self.sha256:
            where = getattr(getattr(self._read, "__self__", None), "path", "the text")
            raise InvalidFile(where, "has changed since it was listed; start again")
        return _prose(raw) if self.is_wiki else raw

    def sections(self) -> Iterator[Document]:
        """The document in sections of about 8,000 characters."""
        span = getattr(self._read, "__self__", None)
        if isinstance(span, Span) and not self.is_wiki:
            yield from (Document(part.read) for part in span.sections())
            return
        start = 0
        for section in sections(iter([self.text])):
            part = slice(start, start + len(section))
            yield Document(lambda part=part: self.text[part], sha256=_sha256([section]))
            start = part.stop


def _sha256(parts: Iterable[str]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part.encode())
    return digest.hexdigest()


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
        inside = files_below(path, (".txt", ".jsonl"))
        if not inside:
            raise InvalidFile(path, "holds no .txt or .jsonl file")
        for file in inside:
            yield from _files(file)
        return
    if path.suffix == ".jsonl":
        yield from _lines(path)
        return
    span = Span(path)
    yield Document(span.read, sha256=_sha256(_unified(span.blocks())))


def _unified(blocks: Iterator[str]) -> Iterator[str]:
    """Blocks with normalised newlines, of which none is cut in two."""
    held = ""
    for block in blocks:
        whole = held + block
        held = "\r" if whole.endswith("\r") else ""
        yield unified(whole.removesuffix("\r"))
    yield unified(held)


@dataclass(frozen=True, slots=True)
class _Line:
    """A line of a .jsonl file."""

    path: Path
    number: int
    start: int
    length: int

    def read(self) -> str:
        with opened(self.path) as file:
            file.seek(self.start)
            return _text_field(self.path, self.number, decoded(self.path, file.read(self.length), self.start))


def _lines(path: Path) -> Iterator[Document]:
    offset = 0
    with opened(path) as file:
        for number, line in enumerate(file, 1):
            text, place = decoded(path, line, offset), _Line(path, number, offset, len(line))
            offset += len(line)
            if text.strip():
                yield Document(place.read, sha256=_sha256([_text_field(path, number, text)]))


def _text_field(path: Path, number: int, line: str) -> str:
    record = typed(path, parsed(path, line, f"line {number}"), _TextRecord, f"line {number}")
    try:
        record["text"].encode()
    except UnicodeEncodeError as error:
        raise InvalidFile(path, f"line {number}: text: {error}") from None
    return record["text"]


class _TextRecord(TypedDict):
    text: str


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
    for number, row in enumerate(rows):
        text = row[field]
        require(isinstance(text, str), "text", name, f"its field {field!r} holds no string in row {number}")
        if text.strip():
            yield Document(lambda number=number: rows[number][field], sha256=_sha256([text]))


def _enwik8() -> Iterator[Document]:
    """Articles of enwik8 in wiki markup; the archive's last page is cut short and is left out."""
    path = find(TEXT)
    try:
        yield from _articles(path)
    except (EOFError, zlib.error, gzip.BadGzipFile, ElementTree.ParseError) as error:
        raise InvalidFile(path, f"damaged ({error}): delete it and run `expander fetch`") from None


def _articles(path: Path) -> Iterator[Document]:
    parser = ElementTree.XMLPullParser(["end"])
    with gzip.open(path, "rb") as file:
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
                    yield Document(text.encode().decode, is_wiki=True)  # bytes: one a letter, whatever the text


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
