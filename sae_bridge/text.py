"""Documents of real text, cut into contexts of tokens, with whole documents held out."""

from __future__ import annotations

import gzip
import hashlib
import json
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from expander_theory.errors import InvalidArgument, InvalidFile, require
from sae_bridge.resources import TEXT, find

HELD_OUT_SHARE = 10
"""One document in this many is held out, decided by a hash of its name."""

_SHORTEST_ARTICLE = 2000  # characters of wiki markup: leaves out redirects and stubs
_SHORTEST_LINE = 40  # characters: leaves out headings and list items
_NAMESPACE = "{http://www.mediawiki.org/xml/export-0.3/}"


@dataclass(frozen=True)
class Document:
    """A named text; the name decides on which side of the split it falls."""

    name: str
    text: str

    @property
    def held_out(self) -> bool:
        return int(_digest(self.name)[:8], 16) % HELD_OUT_SHARE == 0


class TextSource:
    """Documents in a fixed pseudo-random order.

    Args:
        names: "enwik8" (the default text), or paths of ``.txt`` files (a document each), ``.jsonl`` files
            (a document a line, in its field "text") and folders of both.

    Raises:
        MissingResource: the default text has not been fetched.
        InvalidFile: a missing or unreadable file.
        InvalidArgument: no name at all.
    """

    def __init__(self, names: Sequence[str] = ("enwik8",)) -> None:
        require(len(names) > 0, "text", list(names), "must name at least one source")
        self.names = tuple(names)
        raw = [document for name in names for document in (_enwik8() if name == "enwik8" else _files(Path(name)))]
        self._raw = sorted(raw, key=lambda document: _digest(f"order of {document[0]}"))

    @property
    def sha256(self) -> str:
        """Hash of every document's name and raw text, whatever their order on disk."""
        digest = hashlib.sha256()
        for name, text, _ in self._raw:
            digest.update(f"{name}\0{_digest(text)}\n".encode())
        return digest.hexdigest()

    def documents(self) -> Iterator[Document]:
        """All documents; wiki markup is stripped as they are drawn."""
        for name, text, is_wiki in self._raw:
            yield Document(name, _prose(text) if is_wiki else text)

    def contexts(
        self, tokenizer: Any, *, context: int, count: int, held_out: bool, per_document: int = 8
    ) -> NDArray[np.int32]:
        """Token ids (count, context) of the first contexts of successive documents, no special tokens added.

        A context never crosses documents; what is left at a document's end is dropped.

        Args:
            context: tokens a context, at least 2.
            count: contexts wanted.
            held_out: from the held-out documents, or from the others.
            per_document: at most so many contexts of one document, for variety.

        Raises:
            InvalidArgument: the text is shorter than one context, or holds fewer contexts than asked for.
        """
        require(context >= 2, "context", context, "must be at least 2 tokens")
        require(count >= 1, "count", count, "must be at least 1 context")
        found: list[NDArray[np.int32]] = []
        for document in self.documents():
            if document.held_out != held_out:
                continue
            limit = 12 * context * per_document  # characters: more than the tokens needed ever take
            ids = tokenizer(document.text[:limit], add_special_tokens=False, verbose=False)["input_ids"]
            whole = min(len(ids) // context, per_document, count - len(found))
            found.extend(np.asarray(ids[: whole * context], np.int32).reshape(whole, context))
            if len(found) == count:
                return np.stack(found)
        side = f"{'held-out' if held_out else 'training'} documents"
        if not found:
            raise InvalidArgument(
                "text",
                ", ".join(self.names),
                f"its {side} are all shorter than one context of {context} tokens "
                f"(one document in {HELD_OUT_SHARE} is held out: give more or longer documents)",
            )
        raise InvalidArgument(
            "text",
            ", ".join(self.names),
            f"its {side} hold {len(found)} contexts of {context} tokens, {count} are needed",
        )


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _files(path: Path) -> Iterator[tuple[str, str, bool]]:
    if path.is_dir():
        inside = sorted(p for p in path.rglob("*") if p.suffix in (".txt", ".jsonl"))
        if not inside:
            raise InvalidFile(path, "holds no .txt or .jsonl file")
        for file in inside:
            for name, text, is_wiki in _files(file):
                yield f"{file.relative_to(path)}/{name}", text, is_wiki
        return
    try:
        if path.suffix == ".jsonl":
            for number, line in enumerate(path.read_text().splitlines()):
                yield f"{path.name}:{number}", json.loads(line)["text"], False
        else:
            yield path.name, path.read_text(), False
    except FileNotFoundError:
        raise InvalidFile(path, "no such text file") from None
    except (UnicodeDecodeError, ValueError, KeyError, TypeError) as error:
        raise InvalidFile(path, f"not readable as text ({type(error).__name__}: {error})") from None


def _enwik8() -> Iterator[tuple[str, str, bool]]:
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
                    yield title, text, True


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
