"""The closed months, read from billing.statements on demand.

While Kafka is unavailable the statements that were read stay valid: they never change. `fault` then
says that newer ones may be missing.
"""

from __future__ import annotations

import threading
from typing import Final

from services.billing.core.closing.chain import Closed
from services.billing.edge.log_ends import KafkaUnavailable
from services.billing.edge.sorting.disk import DiskUnavailable
from services.billing.edge.statements.topic import StatementTopic
from shared.runtime.clock import Clock

REFRESH_S: Final = 2.0


class Books:
    """The statements. Any thread may ask."""

    def __init__(self, topic: StatementTopic, clock: Clock) -> None:
        self._topic = topic
        self._clock = clock
        self._lock = threading.Lock()
        self._read_at: float | None = None
        self._closed: dict[str, Closed] = {}
        self._fault = ""

    def closed(self) -> tuple[dict[str, Closed], str]:
        """The statements by month, and why newer ones may be missing."""
        with self._lock:
            now = self._clock.monotonic()
            if self._read_at is None or now >= self._read_at + REFRESH_S:
                try:
                    self._topic.read()
                    self._closed = dict(self._topic.chain.closed)
                    self._fault = ""
                except (KafkaUnavailable, DiskUnavailable) as error:
                    self._fault = str(error)
                self._read_at = now
            return self._closed, self._fault

    def close(self) -> None:
        """Close the connection."""
        with self._lock:
            self._topic.close()
