"""Documents of real text, cut into contexts of tokens, with whole documents held out."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from expander_theory.base import InvalidArgument, require
from sae_bridge.activations.sources import HELD_OUT_SHARE, Document, read_documents

_FEW = 20  # with fewer documents than this, each is cut into sections that count as documents
_AT_ONCE = 32  # documents a call of the tokenizer: it works on them in parallel


@dataclass(frozen=True)
class Contexts:
    """Token ids (count, context) int32, and the number of the document (count,) int32 that each came from."""

    tokens: NDArray[np.int32]
    documents: NDArray[np.int32]


class TextSource:
    """Documents in a fixed pseudo-random order.

    Args:
        names: sources as :func:`~sae_bridge.activations.sources.read_documents` takes them: "enwik8" (the default),
            ``hf:NAME[:SPLIT[:FIELD]]``, or paths. Where there are fewer than 20 documents in all, each is cut at
            line ends (a long line at spaces) into sections of about 8,000 characters, which then count as documents.

    Files are read as often as they are needed; only hashes and places are kept in memory (of enwik8 its articles).

    Raises:
        MissingResource: the default text has not been fetched, or ``datasets`` is not installed.
        InvalidFile: a missing or unreadable file.
        InvalidArgument: no name at all, or a data set that cannot be loaded.
    """

    def __init__(self, names: Sequence[str] = ("enwik8",)) -> None:
        require(len(names) > 0, "text", list(names), "must name at least one source")
        self.names = tuple(names)
        found = [document for name in names for document in read_documents(name)]
        if len(found) < _FEW:
            found = [section for document in found for section in document.sections()]
        self.documents = sorted(found, key=lambda d: d.sha256[8:])  # the first digits decide the split

    @property
    def sha256(self) -> str:
        """Hash of all documents, whatever their names and their order on disk."""
        return hashlib.sha256("".join(d.sha256 for d in self.documents).encode()).hexdigest()

    def contexts(
        self,
        tokenizer: Any,
        *,
        context: int,
        count: int,
        held_out: bool,
        per_document: int = 8,
        bos_id: int | None = None,
    ) -> Contexts:
        """The first contexts of successive documents, no special tokens added but the BOS that is asked for.

        A context never crosses documents; what is left at a document's end is dropped.

        Args:
            context: tokens a context, at least 2.
            count: contexts wanted.
            held_out: from the held-out documents, or from the others.
            per_document: so many contexts of one document at most, for variety; the rest of the documents
                is used only once all have given that many.
            bos_id: put in front of every context (which then holds ``context - 1`` tokens of text), or None.

        Raises:
            InvalidArgument: the text is shorter than one context, or holds fewer contexts than asked for.
        """
        require(context >= 2, "context", context, "must be at least 2 tokens")
        require(count >= 1, "count", count, "must be at least 1 context")
        side = [(i, d) for i, d in enumerate(self.documents) if d.held_out == held_out]
        length = context if bos_id is None else context - 1
        tokens: list[NDArray[np.int32]] = []
        documents: list[int] = []
        rest: list[tuple[int, NDArray[np.int32]]] = []

        def take(number: int, found: NDArray[np.int32]) -> None:
            found = found[: count - len(tokens)]
            tokens.extend(found)
            documents.extend([number] * len(found))

        for number, ids in _tokenised(tokenizer, side):
            whole = np.asarray(ids[: len(ids) // length * length], np.int32).reshape(-1, length)
            take(number, whole[:per_document])
            rest.append((number, whole[per_document:]))
            if len(tokens) == count:
                break
        for number, found in rest:
            take(number, found)
        name = "held-out" if held_out else "training"
        if not tokens:
            short = f"its {len(side)} {name} documents are all shorter than one context of {context} tokens"
            none = f"none of its {len(self.documents)} documents is a {name} one"
            shares = f"(one document in {HELD_OUT_SHARE} is held out, by a hash: give more or longer documents)"
            raise InvalidArgument("text", ", ".join(self.names), f"{short if side else none} {shares}")
        if len(tokens) < count:
            raise InvalidArgument(
                "text",
                ", ".join(self.names),
                f"its {len(side)} {name} documents hold {len(tokens)} contexts of {context} tokens, {count} are needed",
            )
        stacked = np.stack(tokens)
        if bos_id is not None:
            stacked = np.insert(stacked, 0, bos_id, axis=1)
        return Contexts(stacked, np.array(documents, np.int32))


def _tokenised(tokenizer: Any, documents: list[tuple[int, Document]]) -> Iterator[tuple[int, list[int]]]:
    """Number and token ids of each document, tokenised some at a time and only as far as they are asked for."""
    for first in range(0, len(documents), _AT_ONCE):
        part = documents[first : first + _AT_ONCE]
        texts = [document.text for _, document in part]
        ids = tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"]
        yield from zip((number for number, _ in part), ids, strict=True)
