"""Fault: the broker is paused, then writes records long after their sender gave up.

A message that the front door answered with 451 must not be sent by itself, and is sent once if
the client submits it again.
"""

from __future__ import annotations

import os
import signal
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from local.stack import Stack, StackOptions
from shared.topics import names
from shared.topics.codec import decode_event, decode_pack
from shared.topics.records import Event, EventType
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
from tests.support.smtp_peers import wait_until

LOST, AGAIN, LATER, LAST = "never-again", "again-at-once", "again-later", "last"


def test_what_was_answered_with_451_is_cancelled_and_goes_out_once_if_handed_in_again(
    tmp_path: Path,
) -> None:
    options = StackOptions(
        name="door-frozen", folder=tmp_path, services=("ingest", "validate"), sink=False
    )
    with Stack(options) as stack:
        register(stack.doors.kafka, CLIENT)
        door = door_of(stack)
        with connected(door) as smtp:
            wait_until(lambda: _code(smtp, "first") == 250, "the door takes mail", 60)
            _wait_passed(door, "first")
            with _frozen(stack):
                assert [_code(smtp, name) for name in (LOST, AGAIN, LATER)] == [451] * 3
                assert _code(smtp, AGAIN) == 451

            wait_until(lambda: _code(smtp, AGAIN) == 250, "the door takes mail again", 60)
            fates = _fates(door, {LOST}, EventType.CANCELLED)
            assert _code(smtp, LATER) == 250
            assert _code(smtp, LAST) == 250
        passed = _wait_passed(door, LAST)
    assert {name: passed[name] for name in ("first", LOST, AGAIN, LATER)} == {
        "first": 1,
        LOST: 0,
        AGAIN: 1,
        LATER: 1,
    }
    assert fates == {LOST: 1}


@contextmanager
def _frozen(stack: Stack) -> Iterator[None]:
    pid = stack.process("kafka").pid
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def _code(smtp: Any, name: str) -> int:
    return submit(smtp, message(name), f"{name}@r.example.net")[0]


def _wait_passed(door: Door, last: str) -> dict[str, int]:
    """How often each message passed validate, once `last` has passed."""
    passed: dict[str, int] = defaultdict(int)

    def look(record: Any) -> bool:
        for one in decode_pack(record.value, record.headers):
            passed[one.envelope.recipient.partition("@")[0]] += 1
        return bool(passed[last])

    read_until(door, names.outbound("default"), look)
    return passed


def _fates(door: Door, wanted: set[str], kind: EventType) -> dict[str, int]:
    """The number of events of this kind per message, once all wanted messages have one."""
    found: dict[str, int] = defaultdict(int)

    def look(record: Any) -> bool:
        event = decode_event(record.headers, record.value)
        if isinstance(event, Event) and event.type is kind:
            found[event.data.recipient.partition("@")[0]] += 1
        return wanted <= found.keys()

    read_until(door, names.EVENTS, look)
    return found
