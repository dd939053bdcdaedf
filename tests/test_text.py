import gzip
import json

import numpy as np
import pytest

from expander_theory import InvalidArgument, InvalidFile
from expander_theory.errors import MissingResource
from sae_bridge import resources, text
from sae_bridge.text import TextSource


class Letters:
    """A tokenizer of one token per character."""

    def __call__(self, text, **_):
        return {"input_ids": [ord(c) % 256 for c in text]}


@pytest.fixture
def folder(tmp_path):
    for i in range(40):
        (tmp_path / f"{i}.txt").write_text(f"{i:03d} " + "abcdefgh" * (i + 1))
    return tmp_path


def test_documents_are_split_whole_and_reproducibly(folder):
    documents = list(TextSource([str(folder)]).documents())
    assert len(documents) == 40
    held_out = {d.name for d in documents if d.held_out}
    assert 0 < len(held_out) < 15
    assert held_out == {d.name for d in TextSource([str(folder)]).documents() if d.held_out}
    names = [d.name for d in documents]
    assert names != sorted(names)


def test_contexts_come_from_their_side_and_never_cross_documents(folder):
    source = TextSource([str(folder)])
    sides = {}
    for held_out in (False, True):
        found = source.contexts(Letters(), context=20, count=8, held_out=held_out, per_document=3)
        assert found.shape == (8, 20)
        assert found.dtype == np.int32
        sides[held_out] = {bytes(context.astype(np.uint8)).decode() for context in found}
        whole = [d.text for d in source.documents() if d.held_out == held_out]
        assert all(any(context in document for document in whole) for context in sides[held_out])
    first = source.contexts(Letters(), context=20, count=4, held_out=False)
    np.testing.assert_array_equal(first[:2], source.contexts(Letters(), context=20, count=2, held_out=False))


def test_hash_depends_on_content_and_not_on_place(folder, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    for path in folder.iterdir():
        (other / path.name).write_text(path.read_text())
    assert TextSource([str(folder)]).sha256 == TextSource([str(other)]).sha256
    (other / "0.txt").write_text("changed")
    assert TextSource([str(folder)]).sha256 != TextSource([str(other)]).sha256


def test_jsonl(tmp_path):
    (tmp_path / "a.jsonl").write_text("\n".join(json.dumps({"text": f"document {i}"}) for i in range(5)))
    assert {d.text for d in TextSource([str(tmp_path / "a.jsonl")]).documents()} == {f"document {i}" for i in range(5)}
    (tmp_path / "a.jsonl").write_text('{"txt": 1}')
    with pytest.raises(InvalidFile, match="KeyError"):
        TextSource([str(tmp_path / "a.jsonl")])


def test_too_little_text_is_reported(folder, tmp_path_factory):
    with pytest.raises(InvalidArgument, match="shorter than one context of 5000 tokens"):
        TextSource([str(folder)]).contexts(Letters(), context=5000, count=1, held_out=False)
    with pytest.raises(InvalidArgument, match=r"hold \d+ contexts of 100 tokens, 999 are needed"):
        TextSource([str(folder)]).contexts(Letters(), context=100, count=999, held_out=False)
    single = tmp_path_factory.mktemp("single") / "one.txt"
    single.write_text("abc " * 1000)
    source = TextSource([str(single)])
    (document,) = source.documents()
    with pytest.raises(InvalidArgument, match="one document in 10 is held out"):
        source.contexts(Letters(), context=10, count=1, held_out=not document.held_out)


def test_unreadable_text_is_reported(tmp_path):
    with pytest.raises(InvalidFile, match="no such text file"):
        TextSource([str(tmp_path / "absent.txt")])
    with pytest.raises(InvalidFile, match=r"holds no \.txt"):
        TextSource([str(tmp_path)])
    (tmp_path / "bad.txt").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(InvalidFile, match="not readable as text"):
        TextSource([str(tmp_path / "bad.txt")])
    with pytest.raises(InvalidArgument, match="text"):
        TextSource([])


def test_wiki_markup_is_stripped():
    prose = text._prose(
        "{{Infobox|x=1}}\n'''Ada''' wrote the first [[computer program|program]] for a machine never built.\n"
        "== Heading ==\n[[Image:ada.png|thumb|A portrait of her that should not be here at all]]\n"
        "{| class=wikitable\n| cell of a table that is quite long indeed, longer than forty\n|}\n* item\n[[de:Ada]]"
    )
    assert prose == "Ada wrote the first program for a machine never built."


def test_enwik8_is_read_as_articles(tmp_path, monkeypatch):
    page = "<page><title>{}</title><revision><text>{}</text></revision></page>"
    body = "A long sentence about something that fills the line. " * 60
    pages = [("Zebra", body), ("Talk:Zebra", body), ("Stub", "short"), ("Old", "#REDIRECT [[Zebra]] " + body)]
    xml = '<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.3/">' + "".join(page.format(*p) for p in pages)
    monkeypatch.setenv("EXPANDER_CACHE", str(tmp_path))
    resources.TEXT.path.parent.mkdir(parents=True)
    resources.TEXT.path.write_bytes(gzip.compress((xml + "<page><title>Cut").encode()))
    documents = list(TextSource().documents())
    assert [d.name for d in documents] == ["Zebra"]
    assert documents[0].text.startswith("A long sentence about something")


def test_the_missing_default_text_names_its_command(tmp_path, monkeypatch):
    monkeypatch.setenv("EXPANDER_CACHE", str(tmp_path))
    with pytest.raises(MissingResource, match="expander fetch text"):
        TextSource()
