"""What is done every few seconds is done again whatever becomes of it."""

from __future__ import annotations

import asyncio

import pytest

from services.deliver.sending import repeat


def test_a_fault_is_logged_and_it_is_done_again(caplog: pytest.LogCaptureFixture) -> None:
    done: list[int] = []

    async def act() -> None:
        done.append(len(done))
        if len(done) == 1:
            raise ValueError("a fault of ours")

    async def test() -> None:
        task = asyncio.create_task(repeat(0.0, act))
        async with asyncio.timeout(60):
            while len(done) < 3:  # noqa: ASYNC110
                await asyncio.sleep(0)
        task.cancel()

    asyncio.run(test())
    assert "is tried again" in caplog.text
