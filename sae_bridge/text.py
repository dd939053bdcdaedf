"""Documents of real text, cut into contexts of tokens, with whole documents held out."""

from __future__ import annotations

import gzip
import hashlib
import json
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from expander_theory.errors import InvalidArgument, InvalidFile, require
from sae_bridge.resources import TEXT, find

HELD_OUT_SHARE = 10
"""One document in this many is held out, decided by a hash of its text: copies fall on the same side."""

_FEW = 20  # with fewer documents than this, each is cut into sections that count as documents
_SECTION = 8000  # characters
_SHORTEST_ARTICLE = 2000  # characters of wiki markup: leaves out redirects and stubs
_SHORTEST_LINE = 40  # characters: leaves out headings and list items
_NAMESPACE = "{http://www.mediawiki.org/xml/export-0.3/}"


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


@dataclass(frozen=True)
class Contexts:
    """Token ids (count, context) int32, and the number of the document (count,) int32 that each came from."""

    tokens: NDArray[np.int32]
    documents: NDArray[np.int32]


class TextSource:
    """Documents in a fixed pseudo-random order.

    Args:
        names: "enwik8" (the default text), or paths of ``.txt`` files (a document each), ``.jsonl`` files
            (a document a line, in its field "text") and folders of both, all in UTF-8. Where there are
            fewer than 20 documents in all, each is cut at line ends into sections of about 8,000 characters,
            which then count as documents.

    Raises:
        MissingResource: the default text has not been fetched.
        InvalidFile: a missing or unreadable file.
        InvalidArgument: no name at all.
    """

    def __init__(self, names: Sequence[str] = ("enwik8",)) -> None:
        require(len(names) > 0, "text", list(names), "must name at least one source")
        self.names = tuple(names)
        found = [d for name in names for d in (_enwik8() if name == "enwik8" else _files(Path(name)))]
        if len(found) < _FEW:
            found = [Document(section) for d in found for section in _sections(d.text)]
        self.documents = sorted(found, key=lambda d: d.sha256[8:])  # the first digits decide the split

    @property
    def sha256(self) -> str:
        """Hash of all documents, whatever their names and their order on disk."""
        return hashlib.sha256("".join(d.sha256 for d in self.documents).encode()).hexdigest()

    def contexts(self, tokenizer: Any, *, context: int, count: int, held_out: bool, per_document: int = 8) -> Contexts:
        """The first contexts of successive documents, no special tokens added.

        A context never crosses documents; what is left at a document's end is dropped.

        Args:
            context: tokens a context, at least 2.
            count: contexts wanted.
            held_out: from the held-out documents, or from the others.
            per_document: so many contexts of one document at most, for variety; the rest of the documents
                is used only once all have given that many.

        Raises:
            InvalidArgument: the text is shorter than one context, or holds fewer contexts than asked for.
        """
        require(context >= 2, "context", context, "must be at least 2 tokens")
        require(count >= 1, "count", count, "must be at least 1 context")
        side = [(i, d) for i, d in enumerate(self.documents) if d.held_out == held_out]
        tokens: list[NDArray[np.int32]] = []
        documents: list[int] = []
        for taken in (slice(0, per_document), slice(per_document, None)):
            for number, document in side:
                if len(tokens) == count:
                    break
                ids = tokenizer(document.text, add_special_tokens=False, verbose=False)["input_ids"]
                whole = np.asarray(ids[: len(ids) // context * context], np.int32).reshape(-1, context)
                found = whole[taken][: count - len(tokens)]
                tokens.extend(found)
                documents += [number] * len(found)
        name = "held-out" if held_out else "training"
        if not tokens:
            raise InvalidArgument(
                "text",
                ", ".join(self.names),
                f"its {len(side)} {name} documents are all shorter than one context of {context} tokens "
                f"(one document in {HELD_OUT_SHARE} is held out: give more or longer documents)",
            )
        if len(tokens) < count:
            raise InvalidArgument(
                "text",
                ", ".join(self.names),
                f"its {len(side)} {name} documents hold {len(tokens)} contexts of {context} tokens, {count} are needed",
            )
        return Contexts(np.stack(tokens), np.array(documents, np.int32))


def _sections(text: str) -> Iterator[str]:
    section: list[str] = []
    length = 0
    for line in text.splitlines(keepends=True):
        section.append(line)
        length += len(line)
        if length >= _SECTION:
            yield "".join(section)
            section, length = [], 0
    if section:
        yield "".join(section)


def _files(path: Path) -> Iterator[Document]:
    if path.is_dir():
        inside = sorted(p for p in path.rglob("*") if p.suffix in (".txt", ".jsonl"))
        if not inside:
            raise InvalidFile(path, "holds no .txt or .jsonl file")
        for file in inside:
            yield from _files(file)
        return
    try:
        if path.suffix == ".jsonl":
            with path.open(encoding="utf-8", newline="\n") as lines:
                for number, line in enumerate(lines, 1):
                    if line.strip():
                        yield Document(_text_field(path, number, line))
        else:
            yield Document(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InvalidFile(path, "no such text file") from None
    except UnicodeDecodeError as error:
        raise InvalidFile(path, f"is not UTF-8 text ({error})") from None


def _text_field(path: Path, number: int, line: str) -> str:
    try:
        text = json.loads(line)["text"]
        text.encode()
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        problem = f'line {number} is no JSON object with a string "text" ({type(error).__name__}: {error})'
        raise InvalidFile(path, problem) from None
    return text


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
