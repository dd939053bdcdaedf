"""Typed records: back from JSON as they were, other versions refused by name, lines of earlier releases understood."""

import json
from dataclasses import fields, is_dataclass
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings, strategies as st

from expander_theory import InvalidArgument, InvalidFile
from expander_theory.results import (
    RECORDS,
    BlockRecord,
    CertificateRecord,
    EvaluationRecord,
    Ledger,
    MaskRecord,
    MembershipRecord,
    NullRecord,
    Record,
    StepRecord,
    TimingRecord,
    canonical_json,
    fields_of,
    from_json,
    read_contents,
    read_ledger,
    read_records,
    to_json,
)
from expander_theory.results.ledger_format import header_line, record_line
from expander_theory.results.records._untagged import tagged

STEP = StepRecord(3, 0.5, 8.0, 2, 1.25)
SHIPPED = sorted(Path(__file__).parents[2].glob("paper_figures/*/**/ledger.jsonl"))


def values(kind):
    """Values of a field's type, as msgspec describes it."""
    kind = kind.type if isinstance(kind, msgspec.inspect.Metadata) else kind
    match kind:
        case msgspec.inspect.StrType(pattern=None):
            return st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=5)
        case msgspec.inspect.StrType(pattern=pattern):
            if "0-9a-f" in pattern:
                return st.sampled_from(["0" * 64, "0123456789abcdef" * 4])
            return st.sampled_from(["0110", "1"] if "[01]+" in pattern else ["-3/4", "2"])
        case msgspec.inspect.IntType(ge=ge):
            return st.integers(-(2**63) if ge is None else ge, 2**63 - 1)
        case msgspec.inspect.FloatType(ge=ge, gt=gt, le=le):
            low = ge if gt is None else gt
            return st.floats(low, le, exclude_min=gt is not None, allow_nan=False, allow_infinity=False)
        case msgspec.inspect.BoolType():
            return st.booleans()
        case msgspec.inspect.NoneType():
            return st.none()
        case msgspec.inspect.UnionType(types=types):
            return st.one_of(*map(values, types))
        case msgspec.inspect.VarTupleType(item_type=item, min_length=least):
            return st.lists(values(item), min_size=least or 0, max_size=2).map(tuple)
        case msgspec.inspect.TupleType(item_types=items):
            return st.tuples(*map(values, items))
        case msgspec.inspect.DictType(key_type=key, value_type=value):
            return st.dictionaries(values(key), values(value), max_size=2)
        case msgspec.inspect.AnyType():
            return st.sampled_from([1, "a", None, [1.5], {"a": [True]}])
        case msgspec.inspect.LiteralType(values=some):
            return st.sampled_from(some)
        case msgspec.inspect.DataclassType(cls=cls, fields=inside):
            return st.fixed_dictionaries({field.name: values(field.type) for field in inside}).map(
                lambda given: cls(**given)
            )
    raise AssertionError(kind)


@pytest.mark.parametrize("kind", RECORDS.values(), ids=list(RECORDS))
def test_every_record_comes_back_from_its_json(kind):
    @settings(max_examples=20)
    @given(values(msgspec.inspect.type_info(kind)))
    def comes_back(record):
        line = json.loads(canonical_json(to_json(record)))
        assert (line["record"], line["version"]) == (kind.KIND, kind.VERSION)
        assert from_json(line, "l", 2) == record

    comes_back()


@pytest.mark.parametrize("kind", RECORDS.values(), ids=list(RECORDS))
def test_every_record_is_frozen_and_says_what_its_fields_mean(kind):
    assert is_dataclass(kind)
    assert issubclass(kind, Record)
    assert kind.__dataclass_params__.frozen
    names = {field.name for field in fields(kind)}
    assert not names & {"record", "version", "crc32", "provenance"}
    text = " ".join(cls.__doc__ or "" for cls in kind.__mro__)
    unsaid = {name for name in names if name not in text and not name.endswith("_interval")}
    assert {name for name in unsaid if not name.startswith(("k50_", "k99_", "status_"))} == set()


def test_another_version_is_refused_by_name(tmp_path):
    path = tmp_path / "l"
    path.write_bytes(header_line({"kind": "sae training"}) + record_line({**to_json(STEP), "version": 3}))
    with pytest.raises(InvalidFile, match="line 2: holds the step record of version 3, this release reads 1"):
        read_ledger(path)
    for version in (True, "1", None):
        with pytest.raises(InvalidFile, match=r"of version .*, this release reads 1"):
            from_json({**to_json(STEP), "version": version}, "l", 2)


@pytest.mark.parametrize("kind", ["stroll", 7, None, ["step"]])
def test_an_unknown_kind_is_refused_by_name(tmp_path, kind):
    path = tmp_path / "l"
    path.write_bytes(header_line({"kind": "walk"}) + record_line({"record": kind, "version": 1}))
    with pytest.raises(InvalidFile, match=r"line 2: holds a record of the kind .*, which this release does not know"):
        read_ledger(path)


def test_a_field_of_another_type_is_named(tmp_path):
    path = tmp_path / "l"
    for change, says in (({"dead": -1}, "dead: expected int >= 0"), ({"fvu": "x"}, "fvu: expected float, got str")):
        path.write_bytes(header_line({}) + record_line({**to_json(STEP), **change}))
        with pytest.raises(InvalidFile, match=f"line 2: {says}"):
            read_ledger(path)
    line = to_json(STEP)
    del line["seconds"]
    path.write_bytes(header_line({}) + record_line(line))
    with pytest.raises(InvalidFile, match="line 2: it lacks seconds"):
        read_ledger(path)


def test_nothing_is_left_out_of_a_line_but_absent_fields():
    assert to_json(BlockRecord("t", 0, "01", None, None)) == {
        "record": "block", "version": 1, "task": "t", "block": 0, "outcome": "01", "fraction": None, "error": None,
    }  # fmt: skip
    assert "kernel" not in to_json(RECORDS["task"]("t", {}))


def test_a_ledger_gives_records_by_kind(tmp_path):
    path = tmp_path / "l"
    membership = MembershipRecord("controls", "d8-seed0", "d8", "d = 8", 0, 0)
    with Ledger(path, {"kind": "anything"}) as ledger:
        for record in (STEP, membership, {"free": 1}):
            ledger.append(record)
        assert ledger.records == [STEP, membership, {"free": 1}]
        assert ledger.of(StepRecord) == [STEP]
    assert read_ledger(path)[1] == [STEP, membership, {"free": 1}]
    assert read_records(path, MembershipRecord) == [membership]
    with Ledger(path, {"kind": "anything"}) as ledger:
        assert ledger.records == [STEP, membership, {"free": 1}]


def test_what_would_be_read_as_a_record_must_be_one(tmp_path):
    with Ledger(tmp_path / "l", {"kind": "sae suite"}) as ledger:
        for mapping in ({"record": "walk", "version": 1}, {"name": "d8", "fvu": 0.5}):
            with pytest.raises(InvalidArgument, match="record"):
                ledger.append(mapping)
        assert ledger.records == []
    with Ledger(tmp_path / "m", {"kind": "mine"}) as ledger, pytest.raises(InvalidArgument, match="must be a Record"):
        ledger.append({"task": "t", "content": {}})


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: "-".join(path.parts[-4:-1]))
def test_lines_of_the_shipped_ledgers_are_read_whole_tagged_or_not(path):
    contents = read_contents(path)
    for stored, record in zip(contents.stored, contents.records, strict=True):
        assert isinstance(record, Record)
        assert to_json(record) == (stored if "record" in stored else tagged(contents.identity["kind"], stored))


def test_some_shipped_ledgers_have_untagged_lines():
    assert any("record" not in stored for path in SHIPPED for stored in read_contents(path).stored)


def test_an_old_ledger_goes_on_with_records_that_say_what_they_are(tmp_path):
    path = tmp_path / "ledger.jsonl"
    identity = {"kind": "sae training"}
    old = StepRecord(0, 1.0, 8.0, 0, 0.5)
    path.write_text("".join(json.dumps(line) + "\n" for line in ({"ledger": 1, "identity": identity}, fields_of(old))))
    before = read_contents(path).sha256
    with Ledger(path, identity) as ledger:
        assert ledger.of(StepRecord) == [old]
    assert read_contents(path).sha256 == before  # opening alone changes no content
    with Ledger(path, identity) as ledger:
        ledger.append(STEP)
    contents = read_contents(path)
    assert contents.records == [old, STEP]
    assert ["record" in line for line in contents.stored] == [False, True]


@pytest.mark.parametrize(
    ("kind", "line", "record"),
    [
        (
            "phase boundary",
            {"part": "search", "workers": 2, "seconds": 1.5, "processor seconds": 3.0, "trials timed": 50},
            TimingRecord("search", 2, 1.5, 3.0, 50),
        ),
        (
            "anybody's",
            {"certified_k": 2, "draw": 0, "family": "uniform", "m": 8, "n": 16, "d": 3},
            CertificateRecord(2, 0, "uniform", 8, 16, 3),
        ),
        ("anybody's", {"certified_k": 2}, None),
        ("anybody's", {"name": "x"}, None),
        (["sweep"], {"x": 1}, None),
    ],
)
def test_how_untagged_lines_are_told_apart(kind, line, record):
    found = tagged(kind, line)
    assert (None if found is None else from_json(found, "l", 2)) == record


def test_old_names_of_fields_are_read(tmp_path):
    shipped = next(path for path in SHIPPED if path.parts[-2:] == ("masks", "ledger.jsonl"))
    first = read_records(shipped, MaskRecord)[0]
    assert first.k_babel == read_contents(shipped).stored[0]["k certified by Babel (OMP-3)"]
    suite = next(path for path in SHIPPED if path.parts[-3:] == ("quick", "saes", "ledger.jsonl"))
    assert {record.name for record in read_records(suite, NullRecord)} >= {"null-k16"}
    assert all(record.geometry.babel_k >= 0 for record in read_records(suite, EvaluationRecord))
