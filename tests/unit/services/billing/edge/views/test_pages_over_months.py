"""A page over many months holds the rows of one page in memory, not those of each month."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import pytest

from services.billing.core.answer import CountingProgress
from services.billing.core.cells import Cell
from services.billing.core.usage_api.query import KEYS, Filters, Query
from services.billing.core.usage_api.tables import UsageRow
from services.billing.edge.views.answer import Answer
from services.billing.edge.views.shelf import Shelved
from services.billing.edge.views.view import View

MONTHS = tuple(f"2026-{number:02}" for number in range(1, 13))
CELLS = [(Cell("shop", f"m{number}", "", "billed", "01"), 2) for number in range(40)]
LIMIT = 10


class CountedView(View):
    """Counts the rows that are decoded together, before the first of them is used."""

    at_once = 0

    def rows(
        self,
        group: Sequence[str],
        filters: Filters,
        after: Sequence[str] | None = None,
        limit: int | None = None,
    ) -> Iterator[UsageRow]:
        found = super().rows(group, filters, after, limit)
        if limit is not None:
            page = list(found)
            self.at_once, found = len(page), iter(page)
        yield from found


def answer_of(group: Sequence[str], folder: Path) -> Answer:
    views = [CountedView(month, CELLS, folder) for month in MONTHS]
    progress = CountingProgress(True, "log", {}, {})
    shelved = tuple(Shelved(view.month, view, progress, 0) for view in views)
    return Answer(Query(MONTHS, Filters(), tuple(group)), (), shelved)


@pytest.mark.parametrize(
    "group", [KEYS, ("month", "mailing_id"), ("client", "mailing_id"), ("day",), ("mailing_id",)]
)
def test_the_pages_have_all_rows_and_each_holds_the_rows_of_one(
    group: Sequence[str], tmp_path: Path
) -> None:
    everything = list(answer_of(group, tmp_path).rows())
    assert everything == sorted(everything, key=lambda row: row.key)
    found: list[UsageRow] = []
    while True:
        answer = answer_of(group, tmp_path)
        page = list(islice(answer.rows(found[-1].key if found else None, LIMIT), LIMIT))
        decoded = sum(getattr(each.view, "at_once", 0) for each in answer.shelved)
        assert decoded <= 2 * LIMIT  # a page may begin in one month and end in the next
        if not page:
            break
        found += page
    assert found == everything
