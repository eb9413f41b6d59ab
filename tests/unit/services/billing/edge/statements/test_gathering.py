"""The lines of a statement are those of one moment, whatever is counted while they are read."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from contextlib import closing, contextmanager

from hypothesis import given, settings
from hypothesis import strategies as st

from services.billing.core.cells import Cell, encode_cell
from services.billing.core.closing.chain import Chain, header_key, part_key
from services.billing.core.closing.lines import Line
from services.billing.core.closing.statement import encode_statement
from services.billing.edge.cells_memory import MemoryCells
from services.billing.edge.statements.gathering import GatheredLines
from shared.store.apply_cells import Run
from shared.store.read_cells import ALL_MONTHS, Counts, Snapshot
from tests.support.billing.statements import add_stated, encode_lines, lines_of, statement_of

MONTHS = ("2026-08", "2026-09", "2026-10", "2026-11")
CLOSING = "2026-10"
Step = list[tuple[str, str, int]]

steps = st.lists(
    st.tuples(
        st.sampled_from(MONTHS), st.sampled_from(["a", "ä", "b", "b\x00"]), st.integers(0, 9)
    ),
    max_size=4,
)


class BusyCells(MemoryCells):
    """Something is counted before each time that cells are read; the counts may be lost as well."""

    def __init__(self, busy: list[Step], lost_at: int) -> None:
        super().__init__()
        self.busy = busy
        self.lost_at = lost_at

    @contextmanager
    def reading(self, *months: str) -> Iterator[tuple[Snapshot, Counts]]:
        self.lost_at -= 1
        if self.lost_at == 0:
            everything = super().read(ALL_MONTHS)
            self.lose_all()
            cells = [(m, n, c) for m, found in everything.months.items() for n, c in found.items()]
            self.restore(everything, iter(cells))
        if self.busy:
            self.count(self.busy.pop())
        with super().reading(*months) as found:
            yield found
        if self.busy:
            self.count(self.busy.pop())

    def count(self, step: Step) -> None:
        mark = self.read().watermarks.get(0, -1)
        named = tuple(
            (month, encode_cell(Cell(client, "m", "", "billed", "01")), number)
            for month, client, number in step
        )
        self.apply(Run("log", 0, mark, mark + 1, named))


def chain_of(lines: list[Line]) -> Chain:
    """One statement, of August, with these lines."""
    chain = Chain()
    chain.add(0, part_key("2026-08", "t", 0), encode_lines(lines))
    header = statement_of("2026-08", lines)
    chain.add(1, header_key("2026-08", "t"), encode_statement(header))
    assert "2026-08" in chain.closed
    return chain


@settings(max_examples=50)
@given(st.lists(steps, min_size=1, max_size=3), st.lists(steps, max_size=12), st.integers(0, 5))
def test_the_lines_are_those_of_the_moment_that_the_statement_names(
    before: list[Step], busy: list[Step], lost_at: int
) -> None:
    cells = BusyCells(busy, lost_at)
    cells.count(before[0])
    stated: dict[str, dict[str, int]] = {}
    august = [line for line in lines_of("2026-08", cells.read(ALL_MONTHS).months, {}) if line.count]
    add_stated(stated, august)
    for step in before[1:]:
        cells.count(step)
    history: dict[int, Snapshot] = {}
    apply = cells.apply

    def applied(run: Run) -> object:
        done = apply(run)
        now = MemoryCells.read(cells, ALL_MONTHS)
        history[now.watermarks[0]] = now
        return done

    cells.apply = applied  # type: ignore[method-assign,assignment]
    now = cells.read(ALL_MONTHS)
    history[now.watermarks[0]] = now
    with closing(GatheredLines(CLOSING, chain_of(august))) as gathered:
        moment = gathered.read(cells)
        found = list(gathered.lines())
    assert found == lines_of(CLOSING, history[moment.watermarks[0]].months, stated)


@settings(max_examples=50)
@given(st.lists(steps, min_size=3, max_size=3))
def test_all_statements_together_say_what_was_counted_last(runs: list[Step]) -> None:
    """Whatever is counted late, also for months that are closed."""
    cells, chain, previous = BusyCells([], 0), Chain(), ""
    for number, month in enumerate(MONTHS[:3]):
        cells.count(runs[number])
        with closing(GatheredLines(month, chain)) as gathered:
            gathered.read(cells)
            lines = list(gathered.lines())
        header = statement_of(month, lines, previous=previous)
        chain.add(number, part_key(month, "t", 0), encode_lines(lines))
        chain.add(number, header_key(month, "t"), encode_statement(header))
        previous = chain.last_digest
        counted = cells.read(ALL_MONTHS).months
        for each in MONTHS[: number + 1]:
            stated: dict[str, dict[str, int]] = {}
            add_stated(stated, chain.stated(each))
            now = {cell: n for cell, n in counted.get(each, {}).items() if n}
            assert {c: n for c, n in stated.get(each, {}).items() if n} == now


def test_a_cell_whose_name_is_written_in_the_old_way_is_the_same_cell() -> None:
    cells = MemoryCells()
    old = '["shop","news","","billed"]'
    cells.apply(Run("log", 0, -1, 1, (("2026-08", old, 3),)))
    chain = chain_of([Line("2026-08", "shop", "news", "", "", "billed", "", 3)])
    with closing(GatheredLines(CLOSING, chain)) as gathered:
        gathered.read(cells)
        assert list(gathered.lines()) == []


def test_lost_counts_are_not_whole() -> None:
    cells = BusyCells([], 0)
    cells.count([("2026-09", "a", 1), ("2026-10", "a", 1)])
    cells.lose_month("2026-09")
    with closing(GatheredLines(CLOSING, Chain())) as gathered:
        assert not gathered.read(cells).whole


class ManyCells(MemoryCells):
    """A month with very many cells, which are made one by one."""

    number = 30_000

    @contextmanager
    def reading(self, *months: str) -> Iterator[tuple[Snapshot, Counts]]:
        with super().reading() as (found, _):
            names = (
                encode_cell(Cell(f"client-{n % 7}", f"mailing-{n}", "", "billed", "01"))
                for n in range(self.number)
            )
            yield found, ((CLOSING, name, 1) for name in names)


def test_the_memory_of_a_close_does_not_grow_with_the_cells() -> None:
    cells = ManyCells()
    tracemalloc.start()
    try:
        with closing(GatheredLines(CLOSING, Chain())) as gathered:
            gathered.read(cells)
            lines = sum(1 for _ in gathered.lines())
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert lines == ManyCells.number
    assert most < 2 * 1024 * 1024
