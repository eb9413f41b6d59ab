"""Mail for benchmarks of deliver alone: published as validate does, and when its events are there.

The events of delivered messages are read by a consumer in a thread of its own.
"""

from __future__ import annotations

import os
import threading
import time
from typing import Any, Final

from kafka import KafkaConsumer

from shared.topics import ids, names
from shared.topics.codec import decode_event, encode_pack
from shared.topics.records import Envelope, Event, EventType, Facts, Message, Origin

SENDER: Final = "news@news.bench.example"
LANE: Final = "default"
_LINE: Final = b"x" * 70 + b"\r\n"
_FETCH_MS: Final = 20
_POLL_MS: Final = 100


def make_message(recipient: str, size_bytes: int) -> Message:
    """A message of about this size."""
    now_ms = time.time_ns() // 1_000_000
    mail_id = ids.time_letters(now_ms) + ids.random_part(os.urandom(16))
    message_id = f"<{mail_id}@news.bench.example>"
    head = f"From: {SENDER}\r\nTo: {recipient}\r\nSubject: x\r\nMessage-ID: {message_id}\r\n\r\n"
    envelope = Envelope(
        mail_id=mail_id,
        client="bench",
        sender=SENDER,
        recipient=recipient,
        message_id=message_id,
        received_at_ms=now_ms,
        origin=Origin(),
        facts=Facts(size_bytes=size_bytes),
        lane=LANE,
    )
    return Message(envelope, head.encode() + _LINE * (size_bytes // len(_LINE)))


def publish_outbound(producer: Any, recipient: str, size_bytes: int) -> str:
    """Publish one message in a record of its own; return its mail id."""
    message = make_message(recipient, size_bytes)
    value, headers = encode_pack([message])
    producer.send(names.outbound(LANE), value, headers=headers)
    return message.envelope.mail_id


class EventTimes:
    """Reads all events from the beginning until it is closed."""

    def __init__(self, bootstrap: str) -> None:
        # Seconds of the monotonic clock.
        self.seen: dict[str, float] = {}
        self._consumer: Any = KafkaConsumer(
            names.EVENTS,
            bootstrap_servers=bootstrap,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
            fetch_max_wait_ms=_FETCH_MS,
        )
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._read, name="events")
        self._thread.start()

    def _read(self) -> None:
        while not self._ends.is_set():
            for records in self._consumer.poll(_POLL_MS).values():
                now = time.monotonic()
                for record in records:
                    event = decode_event(record.headers, record.value)
                    if isinstance(event, Event) and event.type is EventType.DELIVERED:
                        self.seen.setdefault(event.subject, now)

    def close(self) -> None:
        """Stop reading."""
        self._ends.set()
        self._thread.join()
        self._consumer.close()
