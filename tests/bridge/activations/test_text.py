import gzip
import json
import sys
import types

import numpy as np
import pytest

from expander_theory import InvalidArgument, InvalidFile
from expander_theory.base.errors import MissingResource
from sae_bridge.activations import text
from sae_bridge.activations.sources import documents
from sae_bridge.activations.text import TextSource
from sae_bridge.models import resources


class Letters:
    """A tokenizer of one token per character."""

    def __call__(self, texts, **_):
        return {"input_ids": [[ord(c) % 256 for c in text] for text in texts]}


def decoded(contexts):
    return [bytes(context.astype(np.uint8)).decode() for context in contexts]


@pytest.fixture
def folder(tmp_path):
    for i in range(60):
        (tmp_path / f"{i}.txt").write_text(f"{i:03d} " + "abcdefgh" * (i + 1))
    return tmp_path


def test_documents_are_split_whole_and_reproducibly(folder):
    source = TextSource([str(folder)])
    assert len(source.documents) == 60
    held_out = {d.sha256 for d in source.documents if d.held_out}
    assert 0 < len(held_out) < 18
    assert held_out == {d.sha256 for d in TextSource([str(folder)]).documents if d.held_out}
    texts = [d.text for d in source.documents]
    assert texts != sorted(texts)


def test_the_split_depends_on_the_text_alone(folder, tmp_path_factory):
    """Copies under other names, and lines inserted before them, change nothing."""
    other = tmp_path_factory.mktemp("other")
    files = sorted(folder.iterdir())
    lines = [json.dumps({"text": path.read_text()}) for path in files]
    (other / "all.jsonl").write_text("\n".join([json.dumps({"text": "inserted"}), "", *lines]))
    side = {d.sha256: d.held_out for d in TextSource([str(other)]).documents}
    for document in TextSource([str(folder)]).documents:
        assert side[document.sha256] == document.held_out


def test_contexts_come_from_their_side_and_never_cross_documents(folder):
    source = TextSource([str(folder)])
    for held_out in (False, True):
        found = source.contexts(Letters(), context=20, count=8, held_out=held_out, per_document=3)
        assert found.tokens.shape == (8, 20)
        assert found.tokens.dtype == np.int32
        for context, number in zip(decoded(found.tokens), found.documents, strict=True):
            assert context in source.documents[number].text
            assert source.documents[number].held_out == held_out
        assert np.bincount(found.documents).max() <= 3
    first = source.contexts(Letters(), context=20, count=4, held_out=False)
    two = source.contexts(Letters(), context=20, count=2, held_out=False)
    np.testing.assert_array_equal(first.tokens[:2], two.tokens)


def test_the_rest_of_the_documents_is_used_once_all_have_given_their_share(folder):
    source = TextSource([str(folder)])
    whole = sum(len(d.text) // 20 for d in source.documents if not d.held_out)
    found = source.contexts(Letters(), context=20, count=whole, held_out=False, per_document=2)
    assert len({*zip(decoded(found.tokens), found.documents.tolist(), range(whole), strict=True)}) == whole
    assert np.bincount(found.documents).max() > 2
    with pytest.raises(InvalidArgument, match=rf"hold {whole} contexts of 20 tokens, {whole + 1} are needed"):
        source.contexts(Letters(), context=20, count=whole + 1, held_out=False)


def test_hash_depends_on_content_and_not_on_place(folder, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    for i, path in enumerate(sorted(folder.iterdir())):
        (other / f"{100 - i}.txt").write_text(path.read_text())
    assert TextSource([str(folder)]).sha256 == TextSource([str(other)]).sha256
    (other / "50.txt").write_text("changed")
    assert TextSource([str(folder)]).sha256 != TextSource([str(other)]).sha256


def test_one_long_file_is_cut_into_sections(tmp_path):
    lines = [f"line {i} of a long book\n" for i in range(20_000)]
    (tmp_path / "book.txt").write_text("".join(lines))
    source = TextSource([str(tmp_path / "book.txt")])
    assert 40 < len(source.documents) < 80
    assert sorted("".join(d.text for d in source.documents).splitlines()) == sorted(line.strip() for line in lines)
    for held_out in (False, True):
        assert len(source.contexts(Letters(), context=50, count=9, held_out=held_out).tokens) == 9


def test_jsonl(tmp_path):
    path = tmp_path / "a.jsonl"
    texts = [f"document {i} with a line\u2028separator" for i in range(30)]
    path.write_text("\n\n".join(json.dumps({"text": t}, ensure_ascii=False) for t in texts), encoding="utf-8")
    assert {d.text for d in TextSource([str(path)]).documents} == set(texts)


@pytest.mark.parametrize("line", ['{"txt": 1}', '{"text": null}', '{"text": 5}', '{"text": "\\ud800"}', "[1]", "{"])
def test_a_bad_line_is_named(tmp_path, line):
    (tmp_path / "a.jsonl").write_text('{"text": "fine"}\n' + line)
    with pytest.raises(InvalidFile, match=r"line 2[: ]"):
        TextSource([str(tmp_path / "a.jsonl")])


def test_too_little_text_is_reported(folder, tmp_path):
    with pytest.raises(InvalidArgument, match="shorter than one context of 5000 tokens"):
        TextSource([str(folder)]).contexts(Letters(), context=5000, count=1, held_out=False)
    (tmp_path / "one.txt").write_text("abc " * 10)
    source = TextSource([str(tmp_path / "one.txt")])
    with pytest.raises(InvalidArgument, match="one document in 10 is held out"):
        source.contexts(Letters(), context=10, count=1, held_out=not source.documents[0].held_out)


def test_unreadable_text_is_reported(tmp_path):
    with pytest.raises(InvalidFile, match="no such text file"):
        TextSource([str(tmp_path / "absent.txt")])
    with pytest.raises(InvalidFile, match=r"holds no \.txt"):
        TextSource([str(tmp_path)])
    (tmp_path / "bad.txt").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(InvalidFile, match="not UTF-8"):
        TextSource([str(tmp_path / "bad.txt")])
    with pytest.raises(InvalidArgument, match="text"):
        TextSource([])


def test_wiki_markup_is_stripped():
    prose = documents._prose(
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
    monkeypatch.setattr(text, "_FEW", 1)
    (document,) = TextSource().documents
    assert document.is_wiki
    assert document.text.startswith("A long sentence about something")


def test_the_missing_default_text_names_its_command(tmp_path, monkeypatch):
    monkeypatch.setenv("EXPANDER_CACHE", str(tmp_path))
    with pytest.raises(MissingResource, match="expander fetch text"):
        TextSource()


def test_text_in_another_encoding_names_the_byte(tmp_path):
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9 au lait")
    with pytest.raises(InvalidFile, match=r"latin\.txt.*byte 0xe9 at offset 3"):
        TextSource([str(tmp_path / "latin.txt")])
    (tmp_path / "wide.txt").write_text("two bytes each", encoding="utf-16")
    with pytest.raises(InvalidFile, match="it begins as UTF-16 does"):
        TextSource([str(tmp_path / "wide.txt")])
    (tmp_path / "a.jsonl").write_bytes(b'{"text": "fine"}\n{"text": "caf\xe9"}\n')
    with pytest.raises(InvalidFile, match=r"byte 0xe9 at offset 30"):
        TextSource([str(tmp_path / "a.jsonl")])


def test_bos_comes_first_in_every_context(folder):
    source = TextSource([str(folder)])
    plain = source.contexts(Letters(), context=19, count=8, held_out=False)
    marked = source.contexts(Letters(), context=20, count=8, held_out=False, bos_id=7)
    assert (marked.tokens[:, 0] == 7).all()
    np.testing.assert_array_equal(marked.tokens[:, 1:], plain.tokens)


@pytest.fixture
def hub(monkeypatch):
    """The package ``datasets`` with one data set of three rows."""
    asked = []

    class Rows(list):
        column_names = ("text", "body")

    def load_dataset(name, split):
        asked.append((name, split))
        if name != "owner/books":
            raise FileNotFoundError("no such data set\nand a traceback")
        return Rows([{"text": "one", "body": "a"}, {"text": " ", "body": "b"}, {"text": "two", "body": 3}])

    monkeypatch.setitem(sys.modules, "datasets", types.SimpleNamespace(load_dataset=load_dataset))
    return asked


def test_a_data_set_of_the_hub(hub):
    assert {d.text for d in TextSource(["hf:owner/books"]).documents} == {"one", "two"}
    assert {d.text for d in TextSource(["hf:owner/books:test[:2]:text"]).documents} == {"one", "two"}
    assert hub == [("owner/books", "train"), ("owner/books", "test[:2]")]


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("hf:owner/books:train:title", "has no field 'title'; it has text, body"),
        ("hf:owner/books:train:body", "holds no string in row 2"),
        ("hf:owner/poems", "cannot be loaded: FileNotFoundError: no such data set"),
        ("hf:", "must be hf:NAME"),
    ],
)
def test_a_data_set_that_does_not_fit_is_named(hub, name, problem):
    with pytest.raises(InvalidArgument, match=problem):
        TextSource([name])


def test_without_the_package_datasets(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(MissingResource, match="pip install datasets"):
        TextSource(["hf:owner/books"])


def _texts(folder):
    return sorted(document.text for document in TextSource([str(folder)]).documents)


def test_links_to_folders_are_followed_once_and_in_no_circle(tmp_path):
    corpus, elsewhere = tmp_path / "corpus", tmp_path / "elsewhere"
    for place, count in ((corpus / "own", 25), (elsewhere / "deep", 30)):
        place.mkdir(parents=True)
        for i in range(count):
            (place / f"{i}.txt").write_text(f"{place.name} {i}")
    (corpus / "linked").symlink_to(elsewhere)
    assert len(_texts(corpus)) == 55
    (corpus / "again").symlink_to(elsewhere / "deep")
    (elsewhere / "up").symlink_to(corpus)
    assert len(_texts(corpus)) == 55
    (corpus / "one.txt").symlink_to(elsewhere / "deep" / "0.txt")
    assert len(_texts(corpus)) == 56


def test_a_folder_that_cannot_be_listed_is_no_empty_folder(folder, monkeypatch):
    def denied(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("os.scandir", denied)
    with pytest.raises(PermissionError, match="Permission denied"):
        TextSource([str(folder)])


@pytest.mark.parametrize("separator", [" ", ""])
def test_a_text_without_line_breaks_has_sections_too(tmp_path, separator):
    words = [f"word{i:05d}" for i in range(49_000)]
    (tmp_path / "text8.txt").write_text(separator.join(words))
    source = TextSource([str(tmp_path / "text8.txt")])
    assert 40 < len(source.documents) < 120
    sections = [document.text for document in source.documents]
    assert max(map(len, sections)) <= 24_000
    assert sum(map(len, sections)) == len(separator.join(words))
    if separator:
        assert all(piece.strip(" ").startswith("word") for piece in sections)
        assert {w for piece in sections for w in piece.split()} == set(words)
    for held_out in (False, True):
        assert source.contexts(Letters(), context=20, count=8, held_out=held_out).tokens.shape == (8, 20)


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_sections_do_not_depend_on_how_a_file_is_read(tmp_path, newline, monkeypatch):
    rng = np.random.default_rng(0)
    text = "".join(
        chr(rng.choice([97, 233, 0x4E2D, 0x1F600, 0x20])) * int(rng.integers(1, 400)) + (newline if i % 3 else " ")
        for i in range(900)
    )
    path = tmp_path / "a.txt"
    path.write_bytes(b"\xef\xbb\xbf" + text.encode())
    found = []
    for block in (1 << 20, 7, 4096):
        monkeypatch.setattr("sae_bridge.activations.sources._text_files._BLOCK", block)
        found.append([(d.sha256, d.text) for d in TextSource([str(path)]).documents])
    assert found[0] == found[1] == found[2]
    joined = tmp_path / "one.txt"
    joined.write_bytes(text.encode().replace(newline.encode(), b"\n"))
    assert {sha for sha, _ in found[0]} == {d.sha256 for d in TextSource([str(joined)]).documents}
    assert sum(len(t) for _, t in found[0]) == len(text.replace(newline, "\n"))


def test_a_corpus_is_not_held_in_memory(tmp_path):
    import tracemalloc

    line = "The cat sat on the mat and looked at the dog. " * 200
    for i in range(60):
        (tmp_path / f"{i}.txt").write_text(f"{i}\n" + f"{line}\n" * 60)  # 33 MB in all
    with (tmp_path / "more.jsonl").open("w") as file:
        for i in range(2000):
            file.write(json.dumps({"text": f"{i} {line}"}) + "\n")
    tracemalloc.start()
    try:
        source = TextSource([str(tmp_path)])
        source.contexts(Letters(), context=64, count=4, held_out=False)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    size = sum(path.stat().st_size for path in tmp_path.iterdir())
    assert size > 50e6
    assert peak < size / 2, peak


def test_a_text_that_changes_under_us_is_refused(folder):
    source = TextSource([str(folder)])
    for path in folder.iterdir():
        path.write_text("changed")
    with pytest.raises(InvalidFile, match="has changed since it was listed"):
        source.contexts(Letters(), context=20, count=8, held_out=False)


def test_no_held_out_document_is_said_to_be_none(tmp_path):
    (tmp_path / "a.txt").write_text("short " * 20)
    source = TextSource([str(tmp_path / "a.txt")])
    with pytest.raises(InvalidArgument, match="none of its 1 documents is a held-out one"):
        source.contexts(Letters(), context=20, count=1, held_out=True)
