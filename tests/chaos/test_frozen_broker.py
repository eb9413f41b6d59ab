"""Fault: the broker is paused, then writes records long after their sender gave up.

A message that the front door answered with 451 must not be sent automatically, and is sent once if
the client submits it again. During the pause, all readers wait and do nothing.
"""

from __future__ import annotations

import time
from collections import defaultdict
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

from local.stack import Stack, StackOptions
from shared.stream.client import HEARTBEAT_MS, ClientOptions
from shared.stream.consumer import StreamConsumer
from shared.topics import names
from shared.topics.codec import decode_event, decode_pack
from shared.topics.records import Event, EventType
from tests.support.fork_server import fork
from tests.support.front_door import (
    CLIENT,
    Door,
    connected,
    door_of,
    message,
    read_until,
    register,
    submit,
)
from tests.support.pausing import paused
from tests.support.smtp_peers import wait_until
from tests.support.stream_topics import eventually

POLLS: Final = 50
POLL_MS: Final = 20
LOST, AGAIN, LATER, LAST = "never-again", "again-at-once", "again-later", "last"


def test_what_was_answered_with_451_is_cancelled_and_goes_out_once_if_handed_in_again(
    tmp_path: Path,
) -> None:
    options = StackOptions(
        name="door-frozen",
        start=fork,
        folder=tmp_path,
        services=("ingest", "validate"),
        sink=False,
        is_lasting=False,
    )
    with Stack(options) as stack:
        register(stack.endpoints.kafka, CLIENT)
        door = door_of(stack)
        with connected(door) as smtp:
            wait_until(lambda: _code(smtp, "first") == 250, "the door takes mail")
            _wait_passed(door, {"first"})
            with paused(stack.process("kafka").pid):
                assert [_code(smtp, name) for name in (LOST, AGAIN, LATER)] == [451] * 3
                assert _code(smtp, AGAIN) == 451

            wait_until(lambda: _code(smtp, AGAIN) == 250, "the door takes mail again")
            fates = _fates(door, {LOST}, EventType.CANCELLED)
            assert _code(smtp, LATER) == 250
            assert _code(smtp, LAST) == 250
        # Other partitions may be ahead of the one that holds AGAIN.
        passed = _wait_passed(door, {AGAIN, LATER, LAST})
    assert {name: passed[name] for name in ("first", LOST, AGAIN, LATER)} == {
        "first": 1,
        LOST: 0,
        AGAIN: 1,
        LATER: 1,
    }
    assert fates == {LOST: 1}


def test_a_consumer_waits_for_a_broker_that_does_not_answer_instead_of_asking_all_the_time(
    tmp_path: Path,
) -> None:
    options = StackOptions(
        name="consumer-frozen", folder=tmp_path, services=(), sink=False, is_lasting=False
    )
    with ExitStack() as parts:
        stack = parts.enter_context(Stack(options))
        reader = ClientOptions(stack.endpoints.kafka, "reader")
        member = parts.enter_context(closing(StreamConsumer(reader, "g", (names.EVENTS,))))
        eventually(lambda: bool(member.poll(POLL_MS, 1)) or member.has_lease())
        fetcher = member._consumer._fetcher
        with paused(stack.process("kafka").pid):
            until = time.monotonic() + 2 * HEARTBEAT_MS / 1000
            while time.monotonic() < until:
                member.poll(POLL_MS, 1)
            with patch.object(fetcher, "fetch_records", wraps=fetcher.fetch_records) as fetch:
                for _ in range(POLLS):
                    member.poll(POLL_MS, 1)
        assert fetch.call_count <= 2 * POLLS, "a poll is one round, or two"


def _code(smtp: Any, name: str) -> int:
    return submit(smtp, message(name), f"{name}@r.example.net")[0]


def _wait_passed(door: Door, wanted: set[str]) -> dict[str, int]:
    """Wait for all wanted messages; return how often each one passed validate."""
    passed: dict[str, int] = defaultdict(int)

    def look(record: Any) -> bool:
        for one in decode_pack(record.value, record.headers):
            passed[one.envelope.recipient.partition("@")[0]] += 1
        return wanted <= passed.keys()

    read_until(door, names.outbound("default"), look)
    return passed


def _fates(door: Door, wanted: set[str], kind: EventType) -> dict[str, int]:
    """Wait for events of all wanted messages; return their number per message, of this kind."""
    found: dict[str, int] = defaultdict(int)

    def look(record: Any) -> bool:
        event = decode_event(record.headers, record.value)
        if isinstance(event, Event) and event.type is kind:
            found[event.data.recipient.partition("@")[0]] += 1
        return wanted <= found.keys()

    read_until(door, names.EVENTS, look)
    return found
