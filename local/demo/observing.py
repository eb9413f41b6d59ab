"""Reads the results of the demo from the pipeline: the events, and the bill.

A thread reads mail.events and records which final event each message has. Like the billing service,
the thread reads only committed records. The thread counts mail ids, independently of the billing
service, so it detects a second final event of a message. When the billing service has counted
everything, the bill is read from the API of the billing service. If the API requires an access key,
the demo creates a key.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import urlsplit

from kafka.errors import KafkaError
from msgspec import Struct

from local.demo.reconciliation import Row
from local.parts.services import get_json
from local.process import PartNotStarted
from local.stack import Stack
from shared.access.keys import AccessKey, Right
from shared.access.topic import create_key
from shared.registry.client import Returns
from shared.runtime.clock import SystemClock
from shared.settings.sections import KafkaSettings
from shared.stream.client import ClientOptions
from shared.stream.log_reader import LogReader
from shared.topics import names
from shared.topics.codec import CodecError, decode_event
from shared.topics.records import FINAL, Event, EventType

_POLL_MS: Final = 200
_VALIDATE: Final = b"/sluice/validate"
_UNSENT: Final = frozenset({EventType.REFUSED, EventType.SUPPRESSED})
_BACK: Final = frozenset({EventType.RETURNED, EventType.COMPLAINED})
_GIVEN_UP: Final = frozenset({EventType.BOUNCED, EventType.EXPIRED})
_CLOSE_WAIT_S: Final = 10.0
_LOOK_EVERY_S: Final = 0.1
_WAIT_S: Final = 120
_KEY_MS: Final = 3_600_000


class Counts(Struct, frozen=True):
    """The present counts: events by type, ended messages, second final events, first dispatches."""

    words: dict[str, int]
    ended: int
    doubled: int
    dispatched: int
    # The number of messages to forwarding addresses, by the type of the event that caused the
    # message.
    forwarded: dict[str, int] = {}
    # The number of messages that were refused, suppressed, bounced or expired. The key is a pair of
    # the client and the word for the outcome in the client's setting `returns`.
    unsent: dict[tuple[str, str], int] = {}

    def word(self, name: str) -> int:
        """Return the number of events of this type."""
        return self.words.get(name, 0)

    @property
    def finals(self) -> dict[str, int]:
        """Return the number of final events by type."""
        return {word.value: self.word(word.value) for word in FINAL}


class EventFollower:
    """Counts the events in mail.events from the beginning, until close() is called."""

    def __init__(self, bootstrap: str) -> None:
        self._options = ClientOptions(bootstrap, "demo")
        self._lock = threading.Lock()
        self._words: Counter[str] = Counter()
        self._ended: set[str] = set()
        self._doubled = 0
        self._dispatched = 0
        # The event type of each message that may be forwarded.
        self._came_back: dict[str, str] = {}
        self._forwarded: Counter[str] = Counter()
        self._unsent: Counter[tuple[str, str]] = Counter()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="follower", daemon=True)

    def start(self) -> None:
        """Start to read the events. The topic mail.events must exist."""
        self._thread.start()

    def close(self) -> None:
        """Stop following."""
        self._closing.set()
        self._thread.join(_CLOSE_WAIT_S)

    def counts(self) -> Counts:
        """Return the counts of the events that were read until now."""
        with self._lock:
            return Counts(
                dict(self._words),
                len(self._ended),
                self._doubled,
                self._dispatched,
                dict(self._forwarded),
                dict(self._unsent),
            )

    def _follow(self) -> None:
        with closing(LogReader(self._options, names.EVENTS)) as reader:
            reader.read_from(dict.fromkeys(reader.partitions(), 0))
            while not self._closing.is_set():
                try:
                    polled = reader.poll(_POLL_MS)
                except KafkaError:
                    # The poll is repeated after an error, because parts of the pipeline may fail
                    # for a time.
                    self._closing.wait(1)
                    continue
                for records in polled.values():
                    for record in records:
                        self._take(record.headers, record.value)

    def _take(self, headers: Sequence[tuple[str, bytes]], value: bytes | None) -> None:
        try:
            event = decode_event(headers, value)
        except CodecError:
            return
        if not isinstance(event, Event):
            return
        with self._lock:
            self._words[event.type.value] += 1
            self._dispatched += event.data.first_dispatch
            self._note_returned(event, is_of_validate=("ce_source", _VALIDATE) in headers)
            if event.type in FINAL:
                self._doubled += event.subject in self._ended
                self._ended.add(event.subject)

    def _note_returned(self, event: Event, is_of_validate: bool) -> None:
        word = event.type.value
        if event.type is EventType.FORWARDED:
            self._forwarded[self._came_back.get(event.subject, word)] += 1
        elif event.type in _UNSENT and is_of_validate:
            self._came_back[event.subject] = word
            self._unsent[event.data.client, word] += 1
        elif event.type in _GIVEN_UP:
            self._came_back[event.subject] = EventType.BOUNCED.value
            self._unsent[event.data.client, Returns.BOUNCES.value] += 1
        elif event.type in _BACK:
            self._came_back[event.subject] = word


def read_bill(stack: Stack, months: set[str]) -> dict[Row, int]:
    """Wait until the billing service has counted everything, then read the counts from its API."""
    billed: dict[Row, int] = {}
    for month in months:
        for row in _usage(stack, month):
            if row["billed"]:
                key = (row["client"], row["mailing_id"], row["sub_client"])
                billed[key] = billed.get(key, 0) + row["billed"]
    return billed


def _usage(stack: Stack, month: str) -> list[dict[str, Any]]:
    port = urlsplit(stack.endpoints.billing or "").port or 0
    give_up_at = time.monotonic() + _WAIT_S
    key = ""
    while True:
        status, found = get_json(port, f"/v1/usage?month={month}&wait_s=1", key=key)
        if status == HTTPStatus.UNAUTHORIZED and not key:
            key = _new_key(stack)
            continue
        if status == 200 and isinstance(found, dict):
            if found["complete"] or time.monotonic() > give_up_at:
                rows: list[dict[str, Any]] = found["rows"]
                return rows
        elif time.monotonic() > give_up_at:
            raise PartNotStarted(
                f"the billing service does not answer at {stack.endpoints.billing}: HTTP {status}"
            )
        time.sleep(_LOOK_EVERY_S)


def _new_key(stack: Stack) -> str:
    """Create a key for the billing API. The API requires a key if other machines can reach the
    API."""
    created_at_ms = SystemClock().now_ms()
    wanted = AccessKey(
        id="",
        secret_hash=b"",
        rights=(Right.BILLING_READ.value,),
        name="sluice demo",
        created_at_ms=created_at_ms,
        created_by="sluice demo",
        expires_at_ms=created_at_ms + _KEY_MS,
    )
    return str(create_key(KafkaSettings(bootstrap=stack.endpoints.kafka), wanted)[0])
