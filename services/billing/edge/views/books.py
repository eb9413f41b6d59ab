"""Provides the statements of the closed months, and reads billing.statements when a request needs
them.

Only one thread reads at a time, and all requests wait for this read. After the first successful
read, a request waits at most WAIT_S, so an unavailable Kafka does not delay requests. If the read
has not ended by this time, the request gets the known statements, which are still valid, because
statements never change. The returned reason then says that newer statements may be missing.

Before the first successful read, no statement is known. A closed month must not be treated as an
open month. So a request waits for the first read, and StatementsUnknown is raised if this read
fails.
"""

from __future__ import annotations

import logging
import threading
from typing import Final

from services.billing.core.closing.chain import Closed
from services.billing.edge.log_ends import KafkaUnavailable
from services.billing.edge.statements.topic import StatementTopic
from services.billing.edge.temporary_files import DiskUnavailable
from shared.runtime.clock import Clock
from shared.runtime.errors import Unavailable

log = logging.getLogger(__name__)

REFRESH_S: Final = 2.0
WAIT_S: Final = 1.0
CLOSE_TIMEOUT_S: Final = 10.0
_LATE: Final = "the statements are still being read"


class StatementsUnknown(Unavailable):
    """The statements were never read successfully. The text of the exception is the reason."""


class Books:
    """Provides the statements. Thread-safe."""

    def __init__(self, topic: StatementTopic, clock: Clock) -> None:
        self._topic = topic
        self._clock = clock
        self._lock = threading.Lock()
        # This event is set when the running read ends. None if no read is running.
        self._reading: threading.Event | None = None
        self._read_at: float | None = None  # The time at which the last read ended.
        self._closed: dict[str, Closed] | None = None  # None before the first successful read.
        self._fault = ""

    def closed(self) -> tuple[dict[str, Closed], str]:
        """Return the statements by month, and the reason why newer statements may be missing, or
        "". Raises StatementsUnknown."""
        with self._lock:
            is_first = self._closed is None
            if self._read_at is not None and self._clock.monotonic() < self._read_at + REFRESH_S:
                return self._known(self._fault)
            reading = self._reading or self._begin()
        is_read = reading.wait(None if is_first else WAIT_S)
        with self._lock:
            return self._known(self._fault or ("" if is_read else _LATE))

    def close(self) -> None:
        with self._lock:
            reading = self._reading
        if reading is not None:
            reading.wait(CLOSE_TIMEOUT_S)
        self._topic.close()

    def _known(self, fault: str) -> tuple[dict[str, Closed], str]:
        if self._closed is None:
            raise StatementsUnknown(f"the statements are not known yet: {fault}")
        return self._closed, fault

    def _begin(self) -> threading.Event:
        self._reading = threading.Event()
        thread = threading.Thread(target=self._read, args=(self._reading,), name="books")
        thread.daemon = True
        thread.start()
        return self._reading

    def _read(self, reading: threading.Event) -> None:
        found, fault = None, ""
        try:
            self._topic.read()
            found = dict(self._topic.chain.closed)
        except (KafkaUnavailable, DiskUnavailable) as error:
            fault = str(error)
        except Exception:
            # The next request starts a new read.
            log.exception("the statements cannot be read")
            fault = "the statements cannot be read: see the log"
        with self._lock:
            self._closed = self._closed if found is None else found
            self._fault = fault
            self._read_at = self._clock.monotonic()
            self._reading = None
        reading.set()
