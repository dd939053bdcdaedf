"""Tokens as text that shows what they are: bytes of a torn character, control characters, spaces at their ends."""

from __future__ import annotations

import re
from functools import cached_property
from typing import Any

_BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")
_BLANK = re.compile(r"[\u034f\u115f\u1160\u2800\u3164\ufe00-\ufe0f\uffa0]")
"""Characters that Python calls printable and that nobody sees."""
_SHOWN = {"\n": "↵", "\t": "⇥", "\r": "␍"}


class Spelling:
    """Token ids of one tokenizer as text.

    Args:
        tokenizer: of transformers.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._known: dict[int, str] = {}

    @cached_property
    def _bytes(self) -> dict[str, int] | None:
        """What each character of a byte-level vocabulary stands for; None where characters are themselves."""
        backend = getattr(self._tokenizer, "backend_tokenizer", None)
        levels = "" if backend is None else f"{backend.decoder!r} {backend.pre_tokenizer!r}"
        if "ByteLevel" not in levels:
            return None
        printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
        others = (byte for byte in range(256) if byte not in printable)
        return {chr(byte): byte for byte in printable} | {chr(256 + i): byte for i, byte in enumerate(others)}

    def text(self, token: int) -> str:
        """The text of one token: spaces as they are, bytes that are no whole character as ``\\xE2``.

        Args:
            token: an id; one that the tokenizer does not know is shown as ``<id 123>``.
        """
        if token not in self._known:
            self._known[token] = self._spelled(token)
        return self._known[token]

    def _spelled(self, token: int) -> str:
        piece = self._tokenizer.convert_ids_to_tokens(int(token))
        if piece is None:
            return f"<id {token}>"
        if token in self._special:
            return piece
        if self._bytes is not None and all(char in self._bytes for char in piece):
            return _decoded(bytes(self._bytes[char] for char in piece))
        byte = _BYTE.fullmatch(piece)
        return _decoded(bytes([int(byte[1], 16)])) if byte else piece.replace("▁", " ")

    @cached_property
    def _special(self) -> set[int]:
        return set(self._tokenizer.all_special_ids)


def _decoded(raw: bytes) -> str:
    """UTF-8 as text, what is none in hexadecimal."""
    return re.sub(r"[\udc80-\udcff]", lambda c: f"\\x{ord(c[0]) - 0xDC00:02X}", raw.decode("utf-8", "surrogateescape"))


def marked(text: str) -> str:
    """A token's text by itself: every space as ``␣``, line ends and tabs by signs, control characters as escapes."""
    return visible(text).replace(" ", "␣")


def visible(text: str) -> str:
    """Text in which nothing is invisible but plain spaces: line ends, tabs, control and format characters are shown."""
    return "".join(
        _SHOWN.get(char) or (char if char.isprintable() and not _BLANK.match(char) else _escape(char)) for char in text
    )


def _escape(char: str) -> str:
    code = ord(char)
    return f"\\x{code:02X}" if code < 256 else f"\\u{code:04X}" if code < 65536 else f"\\U{code:08X}"
