"""When the events of delivered messages can be read, by mail id; a consumer in its own thread."""

from __future__ import annotations

import threading
import time
from typing import Any, Final

from kafka import KafkaConsumer

from shared.topics import names
from shared.topics.codec import decode_event
from shared.topics.records import Event, EventType

_FETCH_MS: Final = 20
_POLL_MS: Final = 100


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
