"""A few hundred damaged and forged files of every format; ``python tests/fuzz/fuzz.py`` runs it long."""

import fuzz
import pytest
from fuzz_formats import FORMATS


@pytest.mark.parametrize("format", FORMATS)
def test_a_damaged_file_is_refused_or_usable(format):
    counts, faults = fuzz.run(format, range(60), seed=1)
    assert not faults, next(iter(faults.values()))
    assert counts["refused"] >= 20 or format == "certificate in a report"  # which shows what it cannot read
