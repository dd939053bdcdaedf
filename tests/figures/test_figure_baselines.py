"""Two figures against stored pictures (pytest-mpl): made-up data, so that only the drawing can change them."""

import pytest
from support.suite_records import frontier, write_suite

from expander_theory.results import IdentifiabilityRecord
from expander_theory.results.ledger import Ledger
from paper_figures.figures.saes import storage_frontier
from paper_figures.figures.theory import margin_map

LOOK = {"baseline_dir": "../baseline", "tolerance": 8, "savefig_kwargs": {"metadata": {"Software": None}}}


@pytest.mark.mpl_image_compare(**LOOK)
def test_storage_frontier(tmp_path):
    path = write_suite(tmp_path / "ledger.jsonl", {"frontier": frontier()})
    return storage_frontier.draw(path).figures["storage_frontier"]


@pytest.mark.mpl_image_compare(**LOOK)
def test_margin_map(tmp_path):
    with Ledger(tmp_path / "ledger.jsonl", {"kind": "identifiability", "n": 7, "d": 4, "k": 2}) as ledger:
        for flatness in (1.0, 1.5):
            for i, eps in enumerate((0.2, 0.4, 0.6)):
                row = {"m": 10 + i, "draw": 0, "eps": eps, "bound": 1 - 2 * eps * flatness, "spark": 9 - i}
                row |= {"flatness": flatness, "margin": 1 - 0.9 * eps * flatness, "unique": eps < 0.5}
                ledger.append(IdentifiabilityRecord(**row))
    return margin_map.draw(tmp_path / "ledger.jsonl").figures["margin_map"]
