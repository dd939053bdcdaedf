"""Hypothesis strategies that draw structure, so that failures shrink to a readable graph."""

import numpy as np
from hypothesis import strategies as st

from expander_theory import Mask


@st.composite
def masks(draw, max_m=10, max_n=8):
    """Left-d-regular masks, column by column; duplicates of columns are likely."""
    m = draw(st.integers(1, max_m))
    d = draw(st.integers(1, m))
    column = st.lists(st.integers(0, m - 1), min_size=d, max_size=d, unique=True)
    columns = draw(st.lists(column, min_size=1, max_size=max_n))
    return Mask.from_columns(m, np.array(columns))
