"""The live cells: every store counts each run once, and notices what it has lost."""

from __future__ import annotations

from collections import Counter

import pytest

from services.billing.core.cells import Cell, decode_cell, encode_cell
from services.billing.edge.cells import Follower
from shared.store.apply_cells import Applied, OtherLog, Run, Stale
from shared.store.read_cells import ALL_MONTHS, Snapshot
from tests.support.billing.stores import (
    CELL,
    LOG,
    MONTH,
    Store,
    plain,
    run,
)


def test_counts_and_watermark_move_together(store: Store) -> None:
    assert store.cells.apply(run(-1, 10, 3)) == Applied()
    assert store.cells.apply(run(10, 25, 4)) == Applied()
    found = store.cells.read(MONTH)
    assert (found.whole, found.log) == (True, LOG)
    assert found.watermarks == {0: 25}
    assert found.months == {MONTH: {CELL: 7}}


def test_a_month_is_read_in_pieces_at_one_moment(store: Store) -> None:
    names = [encode_cell(Cell("shop", f"m{number}", "", "billed")) for number in range(12_000)]
    store.cells.apply(Run(LOG, 0, -1, 10, tuple((MONTH, name, 3) for name in names)))
    with store.cells.reading(MONTH) as (found, cells):
        first = next(cells)
        store.cells.apply(Run(LOG, 0, 10, 11, tuple((MONTH, name, 100) for name in names)))
        counted = {name: number for _, name, number in [first, *cells]}
    assert counted == dict.fromkeys(names, 3)
    assert (found.watermarks, found.versions, found.months) == ({0: 10}, {MONTH: 1}, {})
    assert store.cells.read().watermarks == {0: 11}


def test_months_are_read_in_pieces_one_after_another_at_one_moment(store: Store) -> None:
    months = ("2026-09", MONTH)
    for number, month in enumerate((*months, "2026-12")):
        store.cells.apply(run(number - 1, number, number + 1, month))
    with store.cells.reading(*months, "2020-01") as (found, cells):
        first = next(cells)
        store.cells.apply(run(2, 3, 7, MONTH))
        counted = [first, *cells]
    assert counted == [("2026-09", CELL, 1), (MONTH, CELL, 2)]
    assert found.watermarks == {0: 2}


def sums(follower: Follower, month: str, before: Counter[str]) -> Counter[str]:
    """The counts of clients, from those of the last time and a reading."""
    with follower.reading(month) as moment:
        found = Counter(before) if moment.are_changes else Counter[str]()
        for at, name, number in moment.counts:
            cell = decode_cell(name)
            assert at == month
            if cell.counter == "received" and not cell.detail:
                found[cell.client] += number
    return +found


def test_whoever_follows_a_month_has_the_counts_of_each_moment(store: Store) -> None:
    marks, counted = Counter({0: -1}), Counter[str]()

    def count(client: str, number: int, month: str = MONTH) -> None:
        day = f"{number % 28 + 1:02d}"
        cells = [Cell(client, "m", "s", "received", day), Cell(client, "m", "s", "billed", day)]
        found = tuple((month, encode_cell(each), number) for each in cells)
        store.cells.apply(Run(LOG, 0, marks[0], marks[0] + 1, found))
        marks[0] += 1
        if month == MONTH:
            counted[client] += number

    follower, seen = store.cells.follow(("received",)), Counter[str]()
    for client, number in [("shop", 3), ("shop", 4), ("bank", 3), ("shop", 3), ("bank", 9)]:
        assert (seen := sums(follower, MONTH, seen)) == counted
        count(client, number)
        count(client, number + 1)
        count(client, 1, "2026-12")
    assert (seen := sums(follower, MONTH, seen)) == counted
    assert sums(follower, "2026-12", Counter()) == {"shop": 3, "bank": 2}
    assert (seen := sums(follower, MONTH, seen)) == counted
    store.lose_month(MONTH)
    with follower.reading(MONTH) as moment:
        assert not moment.snapshot.whole
    store.lose_all()
    counted.clear()
    marks[0] = -1
    count("shop", 5)
    assert sums(follower, MONTH, Counter()) == counted == {"shop": 5}
    follower.close()


def test_a_month_without_cells_or_a_store_that_lost_some_has_no_pieces(store: Store) -> None:
    with store.cells.reading(MONTH) as (found, cells):
        assert (list(cells), found.whole) == ([], True)
    store.cells.apply(run(-1, 10, 3))
    with store.cells.reading("2020-01") as (found, cells):
        assert (list(cells), found.whole) == ([], True)
    store.lose_month(MONTH)
    with store.cells.reading(MONTH) as (found, cells):
        assert (list(cells), found.whole) == ([], False)


@pytest.mark.parametrize("expected", [-1, 0, 9, 11, 25])
def test_a_run_that_begins_elsewhere_adds_nothing(store: Store, expected: int) -> None:
    store.cells.apply(run(-1, 10))
    assert store.cells.apply(run(expected, 25)) == Stale(10)
    assert store.cells.read(MONTH).months == {MONTH: {CELL: 1}}


def test_an_empty_store_takes_only_a_run_from_the_beginning(store: Store) -> None:
    assert store.cells.apply(run(10, 25)) == Stale(-1)
    assert store.cells.read(ALL_MONTHS).months == {}
    assert store.cells.read(ALL_MONTHS).watermarks == {}


def test_a_run_sent_twice_counts_once(store: Store) -> None:
    assert store.cells.apply(run(-1, 10)) == Applied()
    assert store.cells.apply(run(-1, 10)) == Stale(10)
    assert store.cells.read(MONTH).months == {MONTH: {CELL: 1}}


def test_partitions_have_watermarks_of_their_own(store: Store) -> None:
    store.cells.apply(run(-1, 10, partition=0))
    assert store.cells.apply(run(-1, 5, partition=3)) == Applied()
    assert store.cells.read().watermarks == {0: 10, 3: 5}
    assert store.cells.read(MONTH).months == {MONTH: {CELL: 2}}


def test_a_run_may_move_the_watermark_alone(store: Store) -> None:
    assert store.cells.apply(run(-1, 10, 0)) == Applied()
    assert store.cells.apply(run(10, 10, 0)) == Applied()
    assert store.cells.read(MONTH).watermarks == {0: 10}
    assert store.cells.read(MONTH).months == {}


def test_months_are_read_one_or_all_or_none(store: Store) -> None:
    store.cells.apply(run(-1, 1, 2, "2026-10"))
    store.cells.apply(run(1, 2, 3, "2026-11"))
    assert store.cells.read("2026-10").months == {"2026-10": {CELL: 2}}
    assert store.cells.read(ALL_MONTHS).months == {"2026-10": {CELL: 2}, "2026-11": {CELL: 3}}
    assert store.cells.read("2026-11", "2026-10").months.keys() == {"2026-10", "2026-11"}
    assert store.cells.read().months == {}
    assert store.cells.read("2026-09").months == {}


def test_a_lost_month_is_told_by_a_read(store: Store) -> None:
    store.cells.apply(run(-1, 1, 2, "2026-10"))
    store.cells.apply(run(1, 2, 3, "2026-11"))
    store.lose_month("2026-10")
    found = store.cells.read("2026-11")
    assert not found.whole
    assert found.months == {}


def test_a_lost_month_drops_everything_at_the_next_apply(store: Store) -> None:
    store.cells.apply(run(-1, 1, 2, "2026-10"))
    store.cells.apply(run(1, 2, 3, "2026-11"))
    store.lose_month("2026-10")
    assert store.cells.apply(run(2, 3, 1, "2026-11")) == Stale(-1, dropped=True)
    found = store.cells.read(ALL_MONTHS)
    assert (found.whole, found.watermarks, found.months) == (True, {}, {})
    assert store.cells.apply(run(-1, 3, 9, "2026-11")) == Applied()
    assert store.cells.read(ALL_MONTHS).months == {"2026-11": {CELL: 9}}


def test_cells_left_over_from_a_lost_state_are_not_added_to(store: Store) -> None:
    store.cells.apply(run(-1, 10, 5))
    store.cells.drop()
    found = store.cells.read(MONTH)
    assert (found.whole, found.watermarks, found.months) == (True, {}, {})
    assert (found.log, found.versions, found.dropped) == ("", {}, True)
    assert store.cells.apply(run(10, 11, 1)) == Stale(-1)
    assert store.cells.apply(run(-1, 10, 5)) == Applied()
    assert store.cells.read(MONTH).months == {MONTH: {CELL: 5}}


@pytest.mark.parametrize("expected", [-1, 10])
def test_counts_of_another_log_are_neither_added_to_nor_dropped(
    store: Store, expected: int
) -> None:
    store.cells.apply(run(-1, 10, 5))
    before = store.cells.read(ALL_MONTHS)
    other = Run("log-2", 0, expected, 11, ((MONTH, CELL, 1),))
    assert store.cells.apply(other) == OtherLog(LOG)
    assert store.cells.read(ALL_MONTHS) == before


def test_half_lost_counts_of_another_log_are_left_to_the_operator(store: Store) -> None:
    store.cells.apply(run(-1, 1, 2, "2026-10"))
    store.cells.apply(run(1, 2, 3, "2026-11"))
    store.lose_month("2026-10")
    assert store.cells.apply(Run("log-2", 0, -1, 1)) == OtherLog(LOG)
    assert store.cells.read().log == LOG


def test_an_adopted_log_is_counted_on_top_from_its_beginning(store: Store) -> None:
    store.cells.apply(Run(LOG, 3, -1, 10, ((MONTH, CELL, 5),), "2026-08"))
    assert store.cells.adopt("log-2", MONTH, [0, 1]) == LOG
    found = store.cells.read(ALL_MONTHS)
    assert (found.log, found.watermarks) == ("log-2", {})
    assert found.holes == {0: MONTH, 1: MONTH}
    assert found.months == {MONTH: {CELL: 5}}
    assert store.cells.apply(Run("log-2", 0, -1, 7, ((MONTH, CELL, 2),))) == Applied()
    assert store.cells.read(MONTH).months == {MONTH: {CELL: 7}}
    assert store.cells.apply(run(10, 11)) == OtherLog("log-2")


def test_there_is_nothing_to_adopt_without_counts_or_for_the_same_log(store: Store) -> None:
    assert store.cells.adopt(LOG, MONTH, [0]) == ""
    assert plain(store.cells.read()) == Snapshot(True, "", {}, {}, {})
    store.cells.apply(run(-1, 10, 5))
    before = store.cells.read(ALL_MONTHS)
    assert store.cells.adopt(LOG, MONTH, [0]) == LOG
    assert store.cells.read(ALL_MONTHS) == before


def test_a_hole_keeps_its_latest_month(store: Store) -> None:
    for expected, hole in ((-1, "2026-08"), (0, "2026-10"), (1, "2026-09"), (2, "")):
        store.cells.apply(Run(LOG, 2, expected, expected + 1, (), hole))
    assert store.cells.read().holes == {2: "2026-10"}


def test_a_cell_may_be_named_by_any_text(store: Store) -> None:
    texts = [
        "",
        " ",
        "a\nb",
        "ümlaut \U0001f4e7",
        "month:2026-11",
        '["generation"]',
        "\0",
        "x" * 255,
    ]
    names = [encode_cell(Cell(text, text, text, "billed", "01", text)) for text in texts]
    store.cells.apply(Run(LOG, 0, -1, 1, tuple((MONTH, name, 1) for name in names)))
    assert store.cells.read(MONTH).months == {MONTH: dict.fromkeys(names, 1)}


def test_a_large_run_is_applied_at_once(store: Store) -> None:
    increments = tuple(
        (MONTH, encode_cell(Cell(f"c{number}", "", "", "billed")), number + 1)
        for number in range(20_000)
    )
    assert store.cells.apply(Run(LOG, 0, -1, 1, increments)) == Applied()
    assert len(store.cells.read(MONTH).months[MONTH]) == 20_000
