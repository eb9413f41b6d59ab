"""How long an answer of the DNS is used."""

from __future__ import annotations

import asyncio

from services.deliver.edge.dns.resolver import MAX_TTL_S, AnswerCache
from shared.runtime.clock import FakeClock


def test_the_ttl_runs_from_the_question_if_the_process_is_paused_meanwhile() -> None:
    clock = FakeClock()

    async def look_up(_: str) -> tuple[str, float]:
        clock.go_on(60.0)
        return "answer", MAX_TTL_S

    cache = AnswerCache[str](clock.monotonic, look_up)
    assert asyncio.run(cache.get("a.example")) == "answer"
    clock.go_on(MAX_TTL_S - 61.0)
    assert cache.fresh("a.example") == "answer"
    clock.go_on(1.0)
    assert cache.fresh("a.example") is None
