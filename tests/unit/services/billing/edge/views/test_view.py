"""A page of a view, which SQLite makes as one document, has the rows that reading it has."""

from __future__ import annotations

import tempfile
from itertools import islice
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from services.billing.core.cells import COUNTERS, Cell
from services.billing.core.usage_api.query import KEYS, Filters
from services.billing.edge.views.view import View

names = st.sampled_from(["", "a", 'quote " \\', "é\u2028", "\x00", "a\x00b", "\x1f", "\U0001f4e7"])
cells = st.builds(
    Cell,
    names,
    names,
    names,
    st.sampled_from(COUNTERS),
    st.sampled_from(["", "01", "31"]),
    st.sampled_from(["", "R1"]),
)
wanted = st.none() | names


@settings(deadline=None, max_examples=100)
@given(
    st.lists(
        st.tuples(cells, st.integers(-5, 1 << 62)), max_size=30, unique_by=lambda each: each[0]
    ),
    st.sets(st.sampled_from(KEYS)),
    st.builds(Filters, wanted, wanted, wanted),
    st.integers(0, 8),
    st.integers(0, 8),
)
def test_a_page_has_the_rows_that_reading_all_has(
    counted: list[tuple[Cell, int]], grouped: set[str], filters: Filters, skip: int, limit: int
) -> None:
    group = [name for name in KEYS if name in grouped]
    with tempfile.TemporaryDirectory() as folder:
        view = View("2026-10", counted, Path(folder))
        try:
            everything = list(view.rows(group, filters))
        except OverflowError:  # sums of more than 64 bits
            return
        rest = everything[skip:]
        # The sum of everything is one row: there is no page after it.
        after = everything[skip - 1].key if group and 0 < skip <= len(everything) else None
        if after is None:
            rest = everything
        assert list(islice(view.rows(group, filters, after, limit), limit)) == rest[:limit]
        del view
