"""Certified against empirical sparsity at a tiny scale: every part, resume, figure and table from the ledger alone."""

import csv
import shutil
from dataclasses import replace

import matplotlib.image
import pytest

from expander_theory.cli import main
from expander_theory.results import CertifiedRecord, read_records
from experiments.theory import certified
from experiments.theory.certified import FAMILIES, PARTS, Scale


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    patch = pytest.MonkeyPatch()
    out = tmp_path_factory.mktemp("certified") / "out"
    tiny = Scale(((32, 64),), (4, 16), trials=6, supports=5, samples=1400, seconds=0.3)
    with patch.context() as context:
        context.setitem(certified.SCALES, "quick", tiny)
        main(["certified", "--preset", "quick", "--out", str(out)])
        before = (out / "ledger.jsonl").read_bytes()
        main(["certified", "--preset", "quick", "--out", str(out)])
        assert (out / "ledger.jsonl").read_bytes() == before
    return out


def cases(folder):
    found: dict = {}
    for record in read_records(folder / "ledger.jsonl", CertifiedRecord):
        found.setdefault((record.family, record.d), []).append(record)
    return {key: CertifiedRecord.joined(parts) for key, parts in found.items()}


def test_every_family_has_every_part_or_a_reason(folder):
    found = cases(folder)
    assert set(found) == {(family, d) for family in FAMILIES for d in (4, 16)}
    assert len(read_records(folder / "ledger.jsonl", CertifiedRecord)) == len(found) * len(PARTS)
    assert found["polynomial", 16].impossible
    for key, case in found.items():
        if key != ("polynomial", 16):
            assert case.impossible is None, key
            parts = (case.k_babel, case.k_identifiable, case.k_union_stopping, case.erc, case.omp_signs)
            assert None not in parts
            assert "R_id(2)" in case.ratios


def test_what_is_proved_happens(folder):
    for case in cases(folder).values():
        if case.impossible is not None:
            continue
        for rates, proved in (
            (case.omp_signs, case.k_babel),
            (case.omp_gaussian, case.k_babel),
            (case.topk_signs, case.k_topk_range1),
        ):
            assert all(point.successes == point.trials for point in rates if point.k <= proved), (case, rates)
        assert all(point.certified == point.supports for point in case.erc if point.k <= case.k_babel)
        assert case.k99_proved_omp >= case.k_babel
        assert case.k99_proved_topk >= case.k_topk_range1
        assert case.k99_proved_unique >= 1
        for point in (*case.sampled_omp, *case.sampled_topk, *case.sampled_unique):
            assert point.low <= point.certified / point.supports
        assert case.k_coherence <= case.k_babel
        assert case.k_topk_range2 <= case.k_topk_range1


def test_drawn_from_the_ledger_alone_and_the_same_twice(folder, tmp_path):
    (tmp_path / "results").mkdir()
    shutil.copy(folder / "ledger.jsonl", tmp_path / "results" / "ledger.jsonl")
    main(["figures", "--results", str(tmp_path / "results")])
    for name in (
        "figures/certified.png",
        "figures/certified.pdf",
        "figures/certified.csv",
        "figures/tables/certified.md",
    ):
        assert (tmp_path / "results" / name).read_bytes() == (folder / name).read_bytes()
    assert matplotlib.image.imread(folder / "figures" / "certified.png").std() > 0.01
    table = (folder / "figures" / "tables" / "certified.md").read_text()
    assert "not built" in table
    assert "Where the theory is vacuous" in table
    with open(folder / "figures" / "certified_supports.csv") as file:
        rows = list(csv.DictReader(file))
    assert all(float(row["low"]) <= int(row["certified"]) / int(row["supports"]) for row in rows)


def test_other_settings_or_no_case_are_refused(folder, monkeypatch, capsys):
    monkeypatch.setitem(certified.SCALES, "quick", replace(certified.SCALES["quick"], trials=7))
    with pytest.raises(SystemExit):
        main(["certified", "--preset", "quick", "--out", str(folder)])
    assert "trials" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["certified", "--m", "17", "--out", str(folder / "other")])
    assert "no case" in capsys.readouterr().err
