"""Cells in any order become rows in order, however few rows fit into memory."""

from __future__ import annotations

import sqlite3
from collections import Counter
from contextlib import closing

from hypothesis import given, settings
from hypothesis import strategies as st

from services.billing.core.cells import COUNTERS, Cell
from services.billing.edge.views.filling import decode_details, fill

cells = st.builds(
    Cell,
    st.sampled_from(["a", "b", ""]),
    st.sampled_from(["m", "é", "\x00"]),
    st.sampled_from(["", "s"]),
    st.sampled_from([*COUNTERS[:3], "unknown"]),
    st.sampled_from(["", "01", "31"]),
    st.sampled_from(["", "", "R1", "R2"]),
)


@settings(deadline=None, max_examples=80)
@given(st.lists(st.tuples(cells, st.integers(-5, 1 << 40)), max_size=60), st.integers(1, 8))
def test_the_rows_are_the_sums_of_the_cells_in_order(
    counted: list[tuple[Cell, int]], max_rows: int
) -> None:
    with closing(sqlite3.connect(":memory:")) as file:
        total = fill(file, counted, max_rows)
        days = file.execute("SELECT * FROM days").fetchall()
        mailings = file.execute("SELECT * FROM mailings").fetchall()
    known = [(cell, number) for cell, number in counted if cell.counter in COUNTERS]
    for width, table in ((4, days), (3, mailings)):
        keys = [row[:width] for row in table]
        assert keys == sorted(set(keys))
        sums, words = Counter[object](), Counter[object]()
        for cell, number in known:
            key = (cell.client, cell.mailing_id, cell.sub_client, cell.day)[:width]
            found = words if cell.detail else sums
            found[(*key, cell.counter, *([cell.detail] if cell.detail else []))] += number
        for row in table:
            for place, counter in enumerate(COUNTERS):
                assert row[width + place] == sums[(*row[:width], counter)]
            for counter, details in decode_details(row[-1]).items():
                for word, number in details.items():
                    assert words.pop((*row[:width], counter, word)) == number
        assert not any(words.values())
    totals = Counter[str]()
    for cell, number in known:
        totals[cell.counter] += 0 if cell.detail else number
    assert total.counts == tuple(totals[counter] for counter in COUNTERS)
