"""Sends records to Kafka with acks=all, and reports when each record is acknowledged.

Each writer of the doors has its own RecordSender and uses it from one thread. After a failure, a
producer is discarded, so that none of its records can be written much later.

The outcome of every record that was passed to send() is set exactly once. If Kafka has acknowledged
the record, the outcome is the value that the caller has passed, for example Written. Otherwise the
outcome is Unknown. While Kafka is unavailable, send() blocks for at most TIMEOUT_S, and the next
call connects again.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Sequence
from typing import Any, Final, Generic, TypeVar

from kafka import KafkaProducer
from kafka.errors import KafkaError
from msgspec import Struct

from services.ingest.edge.writing.outbox import TIMEOUT_S, BatchResult, Outcome
from shared.runtime.clock import monotonic
from shared.runtime.failpoints import Failpoints
from shared.stream.client import ClientOptions, make_producer
from shared.stream.kafka_python.producing import discard
from shared.stream.transactions import Output

log = logging.getLogger(__name__)

_RETRY_S: Final = 0.25
T = TypeVar("T")


class Send(Struct, Generic[T]):
    """One record, the items that wait for the record's acknowledgement, and the outcomes of these
    items after the acknowledgement."""

    output: Output
    result: BatchResult[T]
    outcomes: list[Outcome]

    def acknowledge(self) -> None:
        """Set the outcomes of the items, because Kafka has acknowledged the record."""
        self.result.outcomes.set_result(self.outcomes)


class SenderFailpoints(Struct, frozen=True):
    """The two failpoints: after a record was sent, and after a record was acknowledged."""

    sent: str
    acknowledged: str


class RecordSender:
    """Sends records by a producer without transactions, which is replaced after a failure. Used by
    one thread."""

    def __init__(
        self, name: str, options: ClientOptions, failpoints: Failpoints, points: SenderFailpoints
    ) -> None:
        """`name` is used in the log, for example "front door"."""
        self._name = name
        self._options = options
        self._failpoints = failpoints
        self._points = points
        self._producer: KafkaProducer | None = None
        self._failed = threading.Event()
        self.fault = ""
        self.failed_at_s = 0.0  # the time of the fault, by monotonic()

    def send(self, sends: Sequence[Send[Any]]) -> None:
        """Send these records. Their outcomes are set after Kafka has answered."""
        waiting = deque(sends)
        try:
            producer = self._ready()
            while waiting:
                topic, value, key, headers, _ = waiting[0].output
                sent = producer.send(topic, value, key, list(headers))
                send = waiting.popleft()
                self._failpoints.hit(self._points.sent)
                sent.add_both(self._answered, send)
        except (KafkaError, AssertionError, RuntimeError, OSError) as error:
            log.warning("%s: Kafka is unavailable", self._name, extra={"reason": str(error)})
            self._note_fault(f"Kafka: {error}")
            for send in waiting:
                send.result.set_unknown()
            time.sleep(_RETRY_S)

    def close(self) -> None:
        """Close the producer."""
        producer, self._producer = self._producer, None
        if producer is not None:
            discard(producer)

    def _ready(self) -> Any:
        if self._failed.is_set():
            self.close()
            self._failed.clear()
        if self._producer is None:
            self._producer = make_producer(
                self._options,
                None,
                linger_ms=0,
                request_timeout_ms=int(TIMEOUT_S * 1000) - 500,
                delivery_timeout_ms=int(TIMEOUT_S * 1000),
                max_block_ms=int(TIMEOUT_S * 1000),
            )
            self.fault = ""
        return self._producer

    def _answered(self, send: Send[Any], result: object) -> None:
        is_lost = isinstance(result, BaseException)
        if is_lost:
            self._note_fault(f"Kafka: {result!r}")
        self._failpoints.hit(self._points.acknowledged)
        if is_lost:
            send.result.set_unknown()
        else:
            send.acknowledge()

    def _note_fault(self, fault: str) -> None:
        self.fault, self.failed_at_s = fault, monotonic()
        self._failed.set()
