"""A pipeline whose Redis is full, or may evict keys: what waits for it, and what is not lost."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis

from cli.stack.paths import SERVICES
from shared.settings.sections import RedisSettings
from shared.store.client import connect
from shared.topics import names
from shared.topics.records import EventType
from tests.support.clock_line import NOW_MS, ClockLine
from tests.support.line_asking import events, has_evicted, mail, not_ok, send, the_end_of
from tests.support.patience import PATIENCE_S
from tests.support.smtp_peers import wait_until

pytestmark = pytest.mark.xdist_group("line-state")


@pytest.fixture
def evicting(clock_line: ClockLine) -> Iterator[redis.Redis]:
    """A client of the pipeline's Redis, which has keys to evict and evicts none at the end."""
    client = connect(RedisSettings(url=clock_line.stack.endpoints.redis))
    client.set("test:room", "x", ex=600)
    yield client
    client.config_set("maxmemory", 0, "maxmemory-policy", "noeviction")
    client.close()


def test_a_redis_that_evicts_keys_lets_no_repeated_message_through(
    clock_line: ClockLine, evicting: redis.Redis
) -> None:
    stack, watch = clock_line.stack, clock_line.watch
    send(stack, names.intake("clock"), mail("clock", "repeated"), NOW_MS)
    assert the_end_of(watch, "clock", "repeated").type is EventType.DELIVERED
    evicting.config_set("maxmemory", 1)
    told = {"validate": {"submission_keys"}, "billing": {"redis"}}  # without any mail

    def found() -> dict[str, set[str]]:
        return {of: not_ok(stack, of) for of in told}

    wait_until(lambda: found() == told, "it is full", found=found)
    evicting.config_set("maxmemory", 0)
    waiting = ("ingest", "validate", "billing")
    wait_until(lambda: all(map(stack.is_ready, waiting)), "none waits any more", PATIENCE_S)
    evicting.config_set("maxmemory-policy", "volatile-lru")
    wait_until(lambda: not any(map(stack.is_ready, waiting)), "these wait", PATIENCE_S)
    wait_until(lambda: stack.is_ready("deliver"), "it does not", PATIENCE_S)
    evicting.config_set("maxmemory", 1)
    wait_until(lambda: has_evicted(evicting), "keys were evicted", PATIENCE_S)
    evicting.config_set("maxmemory", 0)
    for name in ("repeated", "behind"):
        send(stack, names.intake("clock"), mail("clock", name), NOW_MS)
    assert not events(watch, "clock", "behind")
    evicting.config_set("maxmemory-policy", "noeviction")
    assert the_end_of(watch, "clock", "behind").type is EventType.DELIVERED
    wait_until(lambda: len(events(watch, "clock", "repeated")) == 2, "both are told", PATIENCE_S)
    kinds = [told.type for told in events(watch, "clock", "repeated")]
    assert kinds == [EventType.DELIVERED, EventType.DUPLICATE]
    wait_until(lambda: all(map(stack.is_ready, SERVICES)), "all are ready again", PATIENCE_S)
