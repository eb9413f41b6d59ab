"""Requests and files of the billing API that are not what they should be."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from litestar.utils.sync import AsyncIteratorWrapper
from msgspec import structs

from services.billing.core.cells import Cell
from services.billing.core.usage_api.query import DEFAULT_GROUP, Filters
from services.billing.core.usage_api.tables import Stamp, Table, safe, usage_table
from services.billing.edge.cells_memory import MemoryCells
from services.billing.edge.http.exports import CSV, Exports
from services.billing.edge.http.slots import GRACE_S, NoRoom, Slots
from services.billing.edge.views import reader
from services.billing.edge.views.shelf import Shelf
from services.billing.edge.views.view import View
from shared.runtime.clock import FakeClock
from tests.support.billing.api import CLOSED_MONTH, open_api


def test_the_pieces_of_a_file_may_be_read_by_different_threads(tmp_path: Path) -> None:
    view = View(
        "2026-07", [(Cell("a", f"m{n}", "", "billed", "01"), 1) for n in range(1_200)], tmp_path
    )
    table = usage_table(DEFAULT_GROUP, view.rows(DEFAULT_GROUP, Filters()), Stamp(0, True))
    pieces = Exports().pieces(CSV, table, {}, is_european=False)
    found = []
    for _ in range(3):
        with ThreadPoolExecutor(1) as thread:
            found.append(thread.submit(next, pieces).result())
    assert b"".join(found).count(b"\r\n") == 1_201


def test_a_file_that_breaks_off_does_not_look_whole() -> None:
    def rows() -> Any:
        yield from [("x",)] * 500
        raise ValueError("a cell cannot be read")

    async def read() -> bytes:
        pieces = Exports().pieces(CSV, Table(("a",), 1, rows()), {}, is_european=False)
        return b"".join([piece async for piece in AsyncIteratorWrapper(pieces)])

    with pytest.raises(RuntimeError, match="could not be made"):
        asyncio.run(read())


def streamed(slots: Slots, owner: str) -> Any:
    return slots.stream(iter([b"x" * 1_000] * 100), owner)


def test_one_key_cannot_take_all_exports() -> None:
    slots = Slots(4)
    slow = [streamed(slots, "k") for _ in range(2)]
    with pytest.raises(NoRoom):
        streamed(slots, "k")
    assert b"".join(streamed(slots, "other"))
    slow.clear()
    assert b"".join(streamed(slots, "k"))


def test_keys_that_read_slowly_cannot_hold_all_exports_together() -> None:
    clock = FakeClock()
    slots = Slots(4, clock.monotonic)
    slow = [streamed(slots, key) for key in ("a", "a", "b", "b")]
    for each in slow:
        next(each)
    clock.go_on(GRACE_S - 1)
    with pytest.raises(NoRoom):
        streamed(slots, "c")
    clock.go_on(1)
    next(slow[0])  # a little faster than the others, and still too slow
    assert b"".join(streamed(slots, "c"))
    with pytest.raises(RuntimeError, match="too slowly"):
        next(slow[1])
    assert next(slow[2])


def test_an_export_that_is_read_as_fast_as_it_is_made_keeps_its_slot() -> None:
    clock = FakeClock()
    slots = Slots(1, clock.monotonic)

    def made() -> Any:
        while True:
            clock.go_on(60)
            yield b"x"

    slow = slots.stream(made(), "a")
    for _ in range(5):
        next(slow)
    with pytest.raises(NoRoom):
        streamed(slots, "b")
    assert next(slow)


def test_a_closed_month_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr(reader, "time", SimpleNamespace(sleep=waits.append))
    with open_api(tmp_path) as api:
        closed = api.close(CLOSED_MONTH)
        statement = structs.replace(closed.statement, complete=False, reason="lost")
        api.books.found[CLOSED_MONTH] = structs.replace(closed, statement=statement)
        assert api.get("/v1/usage", month=CLOSED_MONTH, wait_s="1").json()["complete"] is False
    assert waits == []


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a;=1+1;", "a;'=1+1;"),
        (" =1", "' =1"),
        ("a,@x", "a,'@x"),
        ("a\n=1", "a\n'=1"),
        ("a\r\n =1", "a\r\n' =1"),
        ("a;b-c", "a;b-c"),
        ("spring-2026", "spring-2026"),
    ],
)
def test_no_separator_hides_a_formula(text: str, shown: str) -> None:
    assert safe(text) == shown


def test_a_view_whose_file_was_removed_is_made_again(tmp_path: Path) -> None:
    shelf = Shelf(MemoryCells(), FakeClock(), tmp_path)
    first = shelf.live("2026-11", shelf.state())
    for file in tmp_path.glob("*/*"):
        file.unlink()
    again = shelf.live("2026-11", shelf.state())
    assert again.id == first.id
    assert list(again.view.rows(("client",), Filters())) == []
    shelf.close()
