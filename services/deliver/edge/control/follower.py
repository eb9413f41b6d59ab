"""Follows mail.control, and holds the operators' orders and traces that are in force.

The follower's thread reads the topic without a consumer group. After each change it replaces the
orders and the traces, so a look-up on the event loop never waits. If the topic cannot be read,
/ready, a metric and the log report this fault; core/control/orders.py decides when mail may still
be sent.

An order takes effect within 2 s, even if another transaction is open on the topic because its
writer has died. The reason is that an open transaction hides only its own orders
(shared/stream/prompt_reader.py).

Owns: the reader. Does not own: the choice among several orders (core/control/orders.py), the choice
of the traced dialogs (core/tracing/traces.py). A record that cannot be read is logged, counted and
skipped. The previous order with the same key stays in force.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import closing
from typing import Any, Final

from kafka.errors import KafkaError
from msgspec import Struct

from services.deliver.core.control.orders import MAX_ORDERS, Freshness, Orders
from services.deliver.core.tracing.traces import NO_TRACES, Traces
from shared.runtime.clock import Clock
from shared.runtime.telemetry import Counters, Metric
from shared.runtime.threads import EnduringThread
from shared.stream.client import ClientOptions
from shared.stream.kafka_python.fetching import UndecodableRecord
from shared.stream.prompt_reader import PromptReader
from shared.topics.codec import CodecError
from shared.topics.control import PARTITION, Order, apply_record, decode_order, is_review
from shared.topics.names import CONTROL
from shared.topics.traces import Trace, decode_trace, is_trace

log = logging.getLogger(__name__)

ORDERS: Final = Metric("sluice_deliver_orders", "Orders of operators that are in force.")
UNREADABLE: Final = Metric(
    "sluice_deliver_unreadable_orders", "Records of mail.control that could not be read."
)
STALE: Final = Metric(
    "sluice_deliver_orders_stale",
    "1 while mail.control cannot be read and new orders of operators are not known, else 0.",
)
POLL_MS: Final = 200
# The time between two queries for the end of the topic.
LOOK_S: Final = 0.5
# The largest number of known traces. A trace that has ended also counts until the trace command
# deletes its record.
MAX_KNOWN_TRACES: Final = 1_000


class _Known(Struct, frozen=True):
    """The orders and traces on the topic, by the keys of their records."""

    orders: dict[bytes, Order]
    traces: dict[bytes, Trace]


class ControlFollower:
    """Keeps `orders` and `traces` up to date. All methods may be called from any thread."""

    def __init__(
        self,
        options: ClientOptions,
        clock: Clock,
        topic: str = CONTROL,
    ) -> None:
        self.orders = Orders()
        self.traces = NO_TRACES
        self.unreadable = 0
        self._options = options
        self._clock = clock
        self._changed: Callable[[], object] = _nothing
        self._topic = topic
        self._freshness = Freshness()
        self._fault = f"{topic} has not been read yet"
        self._thread = EnduringThread(
            "control", self._read, expected=(KafkaError,), failed=self._failed
        )

    def start(self, changed: Callable[[], object]) -> None:
        """Begin to read. After each change, `changed` is called in the thread of the reader."""
        self._changed = changed
        self._thread.start()

    def is_current(self) -> bool:
        """Return whether the known orders are recent enough for a message to begin."""
        return self._freshness.is_current(self._clock.monotonic())

    def why_waiting(self) -> str:
        """Return a note for /ready on why no mail is sent, or "" if the orders have been read."""
        return "" if self._freshness.was_read else self._fault

    def status(self) -> str:
        """Return a note for /ready on why the orders may be out of date.

        The result is "" if the orders are current.
        """
        return self._fault

    def watch(self, counters: Counters) -> None:
        """Register the metrics."""
        counters.watch(ORDERS, lambda: float(len(self.orders.in_force(self._clock.now_ms()))))
        counters.watch(UNREADABLE, lambda: float(self.unreadable))
        counters.watch(STALE, lambda: float(bool(self._fault)))

    def close(self) -> None:
        """Stop the thread and close its connection."""
        self._thread.close()

    def _read(self) -> None:
        with closing(PromptReader(self._options, self._topic, PARTITION)) as reader:
            self._follow(reader)

    def _failed(self, reason: str) -> None:
        fault = f"operators' orders: {reason}"
        if fault != self._fault:
            log.warning("new orders of operators cannot be read", extra={"reason": fault})
        self._fault = fault
        self._freshness.count_failure()

    def _follow(self, reader: PromptReader) -> None:
        """Read from the beginning of the topic, and continue until close(). Raises KafkaError."""
        if not reader.begin():
            raise KafkaError(f"there is no topic {self._topic}")
        known = _Known({}, {})
        is_new = True
        ends, asked_at = (0, 0), float("-inf")
        while not self._thread.is_closing:
            now = self._clock.monotonic()
            if now - asked_at >= LOOK_S:
                ends, asked_at = reader.ends(), now
            settled, has_changed = reader.poll(POLL_MS)
            self._take(known, settled)
            is_new |= has_changed
            if not reader.is_same_topic():
                raise KafkaError(f"{self._topic} was created again")
            if not reader.has_reached(ends):
                continue
            if is_new:
                self._show(known, reader.ahead())
            is_new = False
            self._freshness.confirm(asked_at)
            self._fault = ""

    def _show(self, known: _Known, ahead: Sequence[Any]) -> None:
        """Replace the orders and traces in force.

        `ahead` contains the records that follow an open transaction.
        """
        if ahead:
            known = _Known(dict(known.orders), dict(known.traces))
            self._take(known, ahead)
        self.orders = Orders(known.orders.values())
        self.traces = Traces(known.traces.values(), self._clock.now_ms())
        self._changed()

    def _take(self, known: _Known, records: Sequence[Any]) -> None:
        """Apply these records to the known orders and traces."""
        for record in records:
            if isinstance(record, UndecodableRecord):
                self.unreadable += 1  # the fetcher has logged the record
                continue
            key = record.key or b""
            if is_review(key):
                continue  # reviews are only used to count bounces
            try:
                if is_trace(key):
                    apply_record(known.traces, key, record.value, decode_trace, MAX_KNOWN_TRACES)
                else:
                    apply_record(known.orders, key, record.value, decode_order, MAX_ORDERS)
            except CodecError as error:
                self.unreadable += 1
                fields = {"offset": record.offset, "reason": str(error)}
                log.warning("an order of an operator cannot be read; skipped", extra=fields)


def _nothing() -> None:
    """Do nothing. This is the callback before start()."""
