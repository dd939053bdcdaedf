"""Labelled texts of files and folders: what is read, what is refused, and which texts are for testing."""

import hashlib

import pytest

from expander_theory import InvalidArgument, InvalidFile
from expander_theory.base import MissingResource
from sae_bridge.probing import read_labelled

PAIRS = [(f"text number {i}", "even" if i % 2 == 0 else "odd") for i in range(40)]


def written(path, pairs=PAIRS, header="text,label", encoding="utf-8"):
    path.write_bytes("\n".join([header, *(f"{text},{label}" for text, label in pairs)]).encode(encoding))
    return str(path)


def test_a_csv_file_is_read_by_its_columns(tmp_path):
    found = read_labelled(written(tmp_path / "a.csv", encoding="utf-8-sig"))
    assert list(zip(found.texts, found.labels, strict=True)) == PAIRS
    pairs = [(f'{i},"{text}, and\nmore"', label) for i, (text, label) in enumerate(PAIRS)]
    other = written(tmp_path / "b.csv", pairs, "x,body,kind")
    found = read_labelled(other, text="body", label="kind")
    assert found.texts[3] == "text number 3, and\nmore"
    assert found.labels[3] == "odd"


def test_the_test_texts_are_those_of_a_hash_whatever_else_there_is(tmp_path):
    found = read_labelled(written(tmp_path / "a.csv"))
    expected = [int(hashlib.sha256(t.encode()).hexdigest()[:8], 16) / 2**32 < 0.3 for t, _ in PAIRS]
    assert list(found.test) == expected
    again = read_labelled(written(tmp_path / "b.csv", [("new", "odd"), *PAIRS[::-1]]))
    tested, tested_again = (dict(zip(x.texts, x.test, strict=True)) for x in (found, again))
    assert tested_again.items() > tested.items()
    many = read_labelled(written(tmp_path / "c.csv", [(f"t{i}", i % 2) for i in range(2000)]))
    assert sum(many.test) == pytest.approx(600, abs=60)


def test_a_sample_is_fixed_whatever_the_order(tmp_path):
    found, turned = (read_labelled(written(tmp_path / "a.csv", pairs)) for pairs in (PAIRS, PAIRS[::-1]))
    some = found.first(12)
    known = dict(zip(found.texts, zip(found.labels, found.test, strict=True), strict=True))
    assert [known[text] for text in some.texts] == [*zip(some.labels, some.test, strict=True)]
    assert some.texts == turned.first(12).texts != found.texts[:12]
    assert found.first(None) is found.first(40) is found
    assert set(some.texts) < set(found.first(13).texts)
    with pytest.raises(InvalidArgument, match="documents"):
        found.first(0)


def test_the_first_of_equal_texts_counts_and_empty_ones_do_not(tmp_path):
    more = [("text number 0", "odd"), ("", "odd"), ("  ", "even"), ("no label", ""), *PAIRS, PAIRS[5]]
    found = read_labelled(written(tmp_path / "a.csv", more))
    assert len(found.texts) == 40
    assert found.labels[0] == "odd"
    assert found.labels[1:] == tuple(label for _, label in PAIRS[1:])


def test_the_hash_is_of_texts_and_labels(tmp_path):
    one = read_labelled(written(tmp_path / "a.csv"))
    same = read_labelled(written(tmp_path / "b.csv"))
    other = read_labelled(written(tmp_path / "c.csv", [*PAIRS[:-1], (PAIRS[-1][0], "even")]))
    assert one.sha256 == same.sha256 != other.sha256


def test_a_folder_of_folders_is_read_label_by_label(tmp_path):
    for i, (text, label) in enumerate(PAIRS):
        (tmp_path / label).mkdir(exist_ok=True)
        (tmp_path / label / f"{i:02d}.txt").write_text(text)
    (tmp_path / "odd" / "notes.md").write_text("no text")
    (tmp_path / "alone.txt").write_text("no label")
    found = read_labelled(str(tmp_path))
    assert list(zip(found.texts, found.labels, strict=True)) == PAIRS[::2] + PAIRS[1::2]
    (tmp_path / "odd" / "99.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(InvalidFile, match=r"99.txt: cannot be read as UTF-8"):
        read_labelled(str(tmp_path))


def test_a_folder_without_labels_is_refused(tmp_path):
    with pytest.raises(InvalidFile, match="has texts for training and for testing of 0 labels; 2 are needed"):
        read_labelled(str(tmp_path))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "has no column 'text'"),
        (b"text,label\n", "has texts for training and for testing of 0 labels"),
        (b"text,kind\na,b\n", r"has no column 'label'; its columns are \['text', 'kind'\]"),
        (b"body,label\na,b\n", "has no column 'text'"),
        (
            b"text,label\n" + b"".join(b"t%d,one\n" % i for i in range(40)),
            "has texts for training and for testing of 1 label; 2",
        ),
        (b"text,label\nna\xefve,b\n", "cannot be read as CSV"),
        (b"text,label\nonly a text\n,\n", "has texts for training and for testing of 0 labels"),
    ],
)
def test_files_that_cannot_be_used_are_named(tmp_path, content, said):
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(InvalidFile, match=f"a.csv: .*{said}"):
        read_labelled(str(tmp_path / "a.csv"))


def test_what_is_no_source_is_named(tmp_path):
    with pytest.raises(InvalidFile, match=r"is neither a folder, a .csv file nor the name bbc"):
        read_labelled("cnn")
    with pytest.raises(InvalidFile, match="cannot be read as CSV"):
        read_labelled(str(tmp_path / "none.csv"))


def test_labels_of_training_and_testing_must_be_the_same_ones(tmp_path):
    """Two labels in either part, and none in both: nothing could be tested."""
    known = read_labelled(written(tmp_path / "a.csv"))
    parts = ["test" if test else "train" for test in known.test]
    pairs = [(text, f"{part} {i % 2}") for i, (text, part) in enumerate(zip(known.texts, parts, strict=True))]
    with pytest.raises(InvalidFile, match="label"):
        read_labelled(written(tmp_path / "b.csv", pairs))


def test_long_texts_are_read(tmp_path):
    """Python's csv module has a limit of 131,072 characters a field."""
    long = [("word " * 40_000, "odd"), *PAIRS]
    assert len(read_labelled(written(tmp_path / "a.csv", long)).texts[0]) == 200_000


def test_the_news_have_five_classes():
    try:
        found = read_labelled("bbc")
    except MissingResource as missing:
        pytest.skip(str(missing))
    assert set(found.labels) == {"business", "entertainment", "politics", "sports", "tech"}
    assert len(set(found.texts)) == len(found.texts) > 2000
    assert sum(found.test) / len(found.test) == pytest.approx(0.3, abs=0.05)
