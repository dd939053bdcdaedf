"""Text in files, read a piece at a time: a corpus is never held in memory, only where its documents lie.

Newlines are normalised in what a reader sees; places are bytes of the file as it is.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from expander_theory.base import InvalidFile

_BLOCK = 1 << 20
_SECTION = 8000  # characters
_MARKS = {codecs.BOM_UTF16_LE: "UTF-16", codecs.BOM_UTF16_BE: "UTF-16"}


@dataclass(frozen=True, slots=True)
class Span:
    """Bytes ``start`` to ``stop`` - 1 of a UTF-8 file; ``stop`` None is its end."""

    path: Path
    start: int = 0
    stop: int | None = None

    def blocks(self) -> Iterator[str]:
        """The text as it is, some at a time.

        Raises:
            InvalidFile: no such file, or not UTF-8.
        """
        decoder = codecs.getincrementaldecoder("utf-8")()
        with opened(self.path) as file:
            offset = file.seek(self.start)
            while True:
                most = _BLOCK if self.stop is None else min(_BLOCK, self.stop - offset)
                data = file.read(max(0, most))
                begins = offset == 0
                kept = data.removeprefix(codecs.BOM_UTF8) if begins else data
                held = len(decoder.getstate()[0])
                try:
                    text = decoder.decode(kept, final=not data)
                except UnicodeDecodeError as error:
                    place = offset + len(data) - len(kept) - held + error.start
                    raise _not_utf8(self.path, error, place, data if begins else b"") from None
                if text:
                    yield text
                if not data:
                    return
                offset += len(data)

    def read(self) -> str:
        """The text, with newlines normalised."""
        return unified("".join(self.blocks()))

    def sections(self) -> Iterator[Span]:
        """Consecutive spans of about 8,000 characters, as :func:`sections` cuts the text."""
        with opened(self.path) as file:
            start = self.start
            if start == 0 and file.read(len(codecs.BOM_UTF8)) == codecs.BOM_UTF8:
                start = len(codecs.BOM_UTF8)
        for section in sections(self.blocks()):
            stop = start + len(section.encode())
            yield Span(self.path, start, stop)
            start = stop


def sections(blocks: Iterator[str]) -> Iterator[str]:
    """A text in sections of about 8,000 characters, cut at line ends, and where a line is far longer, at spaces.

    They do not depend on how the text comes in blocks; together they are the text.
    """
    section: list[str] = []
    length = 0
    for line in _lines(blocks):
        section.append(line)
        length += len(unified(line))
        if length >= _SECTION:
            yield "".join(section)
            section, length = [], 0
    if section:
        yield "".join(section)


def _lines(blocks: Iterator[str]) -> Iterator[str]:
    """Lines with their ends; what is longer than two sections comes in pieces of about one."""
    rest = ""
    for block in blocks:
        *whole, rest = (rest + block).splitlines(keepends=True)
        if rest.endswith("\r"):
            pass  # its newline may come with the next block
        elif rest.splitlines()[0] != rest:
            whole.append(rest)
            rest = ""
        for line in whole:
            *pieces, last = _cut(line)
            yield from pieces
            yield last
        *pieces, rest = _cut(rest)
        yield from pieces
    if rest:
        yield rest


def _cut(line: str) -> list[str]:
    """A line in pieces, of which the last has two sections at most: from the left, so that more text changes none."""
    pieces = []
    while len(line) > 2 * _SECTION:
        stop = line.rfind(" ", _SECTION // 2, _SECTION) + 1 or _SECTION
        pieces.append(line[:stop])
        line = line[stop:]
    return [*pieces, line]


def unified(text: str) -> str:
    """The text with newlines as ``\\n``."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


def decoded(path: Path, data: bytes, offset: int) -> str:
    """UTF-8 text that begins at byte ``offset`` of the file."""
    start = data.removeprefix(codecs.BOM_UTF8) if offset == 0 else data
    try:
        return start.decode()
    except UnicodeDecodeError as error:
        place = offset + len(data) - len(start) + error.start
        raise _not_utf8(path, error, place, data if offset == 0 else b"") from None


def _not_utf8(path: Path, error: UnicodeDecodeError, place: int, begins: bytes) -> InvalidFile:
    mark = _MARKS.get(begins[:2], "")
    like = f"; it begins as {mark} does" if mark else ""
    problem = f"is not UTF-8 text: byte {error.object[error.start]:#04x} at offset {place} ({error.reason}){like}"
    return InvalidFile(path, f"{problem}; convert it first, as `iconv -t UTF-8` does")


def opened(path: Path):  # type: ignore[no-untyped-def]
    """The file, for reading bytes."""
    try:
        return path.open("rb")
    except FileNotFoundError:
        raise InvalidFile(path, "no such text file") from None
