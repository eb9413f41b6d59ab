"""The lines of traced dialogs on their way through Redis: bounded, and sending never waits."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial

from services.deliver.core.attempt.results import Delivered
from services.deliver.core.tracing.traces import MAX_QUEUED, Traces
from services.deliver.edge.tracing.tracer import Tracer
from shared.runtime.clock import SystemClock, now_ms
from shared.settings.sections import RedisSettings
from shared.store.client import NO_RETRY, StoreUnavailable, connect, connect_async
from shared.store.traces import KEPT_S, MAX_KEPT, PREFIX, TraceReader, append_lines
from shared.topics.traces import Trace, TraceLine
from tests.support.pool_talk import run, send, until
from tests.support.scripted_smtp import scripted
from tests.support.traced_pools import TRACE_ID, Ordered, Shown, traced_pools


class Watched:
    """A tracer whose lines go to a real Redis."""

    def __init__(self, url: str) -> None:
        self.settings = RedisSettings(url=url)
        self.client = connect_async(self.settings, retry=NO_RETRY)
        now = now_ms()
        self.source = Ordered()
        trace = Trace(TRACE_ID, "d.example", at_ms=now, expires_at_ms=now + 60_000)
        self.source.traces = Traces([trace], now)
        append = partial(append_lines, self.client)
        self.tracer = Tracer(self.source, append, SystemClock(), "deliver-0")


def test_lines_reach_a_reader_through_redis_bounded_and_with_an_expiry(redis_url: str) -> None:
    async def test() -> None:
        watched = Watched(redis_url)
        async with (
            scripted(lambda _: {}) as server,
            traced_pools(server.address, watched) as pools,
        ):
            await watched.tracer.flush()
            await send(pools, "x@d.example")
            await watched.tracer.flush()
        many = [TraceLine("deliver-1", number, 1, "<", "x") for number in range(1, MAX_KEPT * 2)]
        for start in range(0, len(many), 200):
            await append_lines(watched.client, "f" * 16, many[start : start + 200])
        await watched.client.aclose()

    run(test())
    client = connect(RedisSettings(url=redis_url))
    reader = TraceReader(client, TRACE_ID)
    found = reader.read(0.01)
    assert [line.number for line in found] == list(range(1, len(found) + 1))
    assert "RCPT TO:<x@d.example>" in [line.text for line in found]
    assert reader.read(0.01) == []
    client.xadd(PREFIX + TRACE_ID, {"other": "\xff"})
    client.xadd(PREFIX + TRACE_ID, {"line": "[]"})
    assert reader.read(0.01) == []
    assert reader.unreadable == 2
    assert 0 < client.ttl(PREFIX + TRACE_ID) <= KEPT_S
    assert MAX_KEPT <= client.xlen(PREFIX + "f" * 16) < MAX_KEPT + 200
    for trace_id in (TRACE_ID, "f" * 16):
        TraceReader(client, trace_id).delete()
    assert client.exists(PREFIX + TRACE_ID) == 0


def test_mail_does_not_wait_for_a_redis_that_is_unavailable_and_the_loss_is_said() -> None:
    async def test() -> None:
        shown = Shown()
        may_answer = asyncio.Event()
        failing = True

        async def append(trace_id: str, lines: Sequence[TraceLine]) -> None:
            if failing:
                await may_answer.wait()
                raise StoreUnavailable("Redis: unavailable")
            shown.written += lines

        tracer = Tracer(shown.source, append, shown.clock, "deliver-0")
        shown.tracer = tracer
        now = shown.clock.now_ms()
        trace = Trace(TRACE_ID, "d.example", at_ms=now, expires_at_ms=now + 60_000)
        shown.source.traces = Traces([trace], now)
        async with scripted(lambda _: {}) as server, traced_pools(server.address, shown) as pools:
            flushing = asyncio.create_task(tracer.flush())
            await until(lambda: tracer.is_active)
            for number in range(200):
                shown.clock.go_on(0.06)  # below the limit of dialogs per second
                assert isinstance(await send(pools, f"x{number}@d.example"), Delivered)
            assert not flushing.done()
            may_answer.set()
            await flushing
        failing = False
        while written := len(shown.written) or True:
            await tracer.flush()
            if len(shown.written) == written:
                break
        numbers = [line.number for line in shown.written]
        assert len(numbers) == MAX_QUEUED + 1
        assert numbers[0] == 2, "the first line was lost with the call that failed"
        assert shown.written[-1].kind == ""
        assert numbers[-1] > MAX_QUEUED + 1

    run(test())
