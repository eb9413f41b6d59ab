"""Rows of several months, merged into one answer."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from services.billing.core.cells import COUNTERS
from services.billing.core.usage_api.tables import UsageRow, merged, totals

CELLS = st.dictionaries(
    st.tuples(st.sampled_from("ab"), st.sampled_from("xyz")),
    st.tuples(st.integers(0, 9), st.dictionaries(st.sampled_from(["R1", "R4"]), st.integers(1, 5))),
    max_size=6,
)
Month = dict[tuple[str, str], tuple[int, dict[str, int]]]
REFUSED = COUNTERS.index("refused")


def rows_of(month: Month) -> list[UsageRow]:
    """The rows of one month, in order."""
    empty = [0] * len(COUNTERS)
    return [
        UsageRow(
            key,
            tuple(number if at == REFUSED else zero for at, zero in enumerate(empty)),
            {"refused": dict(rules)} if rules else {},
        )
        for key, (number, rules) in sorted(month.items())
    ]


@given(st.lists(CELLS, min_size=1, max_size=4))
def test_merged_months_have_each_key_once_in_order_with_the_sums_of_all(
    months: list[Month],
) -> None:
    found = list(merged([rows_of(month) for month in months]))
    assert [each.key for each in found] == sorted({key for month in months for key in month})
    numbers: Counter[tuple[str, ...]] = Counter()
    rules: Counter[tuple[tuple[str, ...], str]] = Counter()
    for month in months:
        for key, (number, details) in month.items():
            numbers[key] += number
            rules.update({(key, rule): count for rule, count in details.items()})
    assert {each.key: each.counts[REFUSED] for each in found} == dict(numbers)
    shown = {
        (each.key, rule): count
        for each in found
        for rule, count in each.details.get("refused", {}).items()
    }
    assert shown == dict(rules)
    assert totals(found)["refused"] == numbers.total()


def test_merging_changes_none_of_the_rows_that_it_reads() -> None:
    rows = [rows_of({("a", "x"): (1, {"R1": 1})}) for _ in range(2)]
    assert next(merged(rows)).details == {"refused": {"R1": 2}}
    assert [each.details for month in rows for each in month] == [{"refused": {"R1": 1}}] * 2
