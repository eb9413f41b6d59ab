"""What peers and a writer that fails may cost the doors."""

from __future__ import annotations

import asyncio
from typing import Any

from services.ingest.core.bounce_door.held_bytes import STEP_BYTES, HeldBytes, Hold
from services.ingest.edge.writing.outbox import UNKNOWN, BatchResult, Outbox, Written


def test_a_writer_that_fails_unexpectedly_leaves_the_outbox_working() -> None:
    async def run() -> list[Any]:
        calls: list[int] = []

        def write(batch: Any) -> Any:
            calls.append(1)
            if len(calls) == 1:
                raise OSError(24, "Too many open files")
            return [BatchResult(batch, [Written("id")] * len(batch))]

        box, found = Outbox[str]("t", write), list[Any]()
        box.put("a", found.append)
        while not found:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        box.put("b", found.append)
        await box.close()
        return found

    assert asyncio.run(run()) == [UNKNOWN, Written("id")]


def test_recipients_hold_no_bytes_that_have_not_arrived() -> None:
    held = HeldBytes(256 * 1024 * 1024)
    for address in range(4):
        for _ in range(50):
            assert Hold(held, f"192.0.2.{address}").try_begin(["a"] * 100)
    assert Hold(held, "198.51.100.1").try_begin(["a"])
    assert held.total_bytes == 201 * STEP_BYTES


def test_a_stored_message_counts_once_per_recipient() -> None:
    held = HeldBytes(8 * STEP_BYTES)
    hold = Hold(held, "192.0.2.1")
    assert hold.try_begin(["a", "a", "b"])
    assert not hold.try_store(STEP_BYTES, ["a", "a", "b"])
    assert held.total_bytes == STEP_BYTES
    assert hold.try_store(10, ["a", "a", "b"])
    assert (held.total_bytes, held.by_client) == (30, {"a": 20, "b": 10})
    hold.release()
    assert (held.total_bytes, held.by_client) == (0, {})
