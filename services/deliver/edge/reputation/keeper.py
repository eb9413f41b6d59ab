"""Counts results in mail.events, advances the steps of sources, and suspends clients at providers.

Every process of the deliver service has a keeper, which runs in a thread, but only one keeper
counts results. In each turn, this keeper reads the records that were added to mail.events and
counts them (core/reputation/book.py). Then it writes one transaction. The transaction contains the
states that changed, the orders that suspend clients, and the place in mail.events up to which all
events are counted.

All keepers share one transactional id. When a keeper opens the id, Kafka ends the transaction of
any other keeper and fences that keeper. If the new keeper then reads mail.reputation to its end and
commits, no other keeper has written since the new keeper opened the id. So each event is counted
once, although many processes have a keeper. A keeper does not open the id as long as another keeper
writes new places (shared/topics/reputation.py).

If the process dies or is paused before the commit, nothing of the turn is written, and another
keeper counts the same events within SILENT_TURNS turns. If the process leaves a transaction open on
mail.control, readers still see all orders outside this transaction
(shared/stream/prompt_reader.py). While Kafka is unavailable, no turn takes place, and the present
steps and suspensions stay in force. Redis is not used. Events that Kafka deletes before a keeper
reads them are not counted. The first keeper of an installation begins at the present end of
mail.events.

While a person's order is in force, the keeper does not replace it by an order on the same scope.
There is one exception. In each turn, the keeper reads the orders and writes at most one second
later. If a person gives an order between these two steps, the keeper replaces this order.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from contextlib import closing
from typing import Final

from kafka.errors import KafkaError
from msgspec import Struct, structs

from services.deliver.core.control.orders import Orders
from services.deliver.core.reputation.book import Book
from services.deliver.core.reputation.facts import Fact, Result, fact_of
from services.deliver.core.shaping.rules import Rules
from services.deliver.edge.reputation.inputs import EventLog, ProviderLookup
from services.deliver.edge.reputation.view import ReputationView, States
from shared.runtime.clock import Clock
from shared.runtime.failpoints import Failpoints
from shared.runtime.telemetry import Counter, Counters, Metric
from shared.runtime.threads import EnduringThread, RunsThread
from shared.stream.client import ClientOptions
from shared.stream.consumer import Record
from shared.stream.kafka_python.fetching import UndecodableRecord
from shared.stream.log_reader import LogReader
from shared.stream.topic_follower import Silence
from shared.stream.transactions import Output, TransactionalProducer, TransactionLost
from shared.stream.watchdog import watchdog_of
from shared.topics import names
from shared.topics.codec import IN_TRANSACTION
from shared.topics.control import PARTITION as CONTROL_PARTITION
from shared.topics.control import Order, encode_order
from shared.topics.reputation import PARTITION, Place, encode_state

log = logging.getLogger(__name__)

SUSPENSIONS: Final = Metric(
    "sluice_deliver_ratio_suspensions",
    "Clients suspended at a provider for their share of bounces, complaints or policy replies.",
    ("provider",),
)
UNREADABLE: Final = Metric(
    "sluice_deliver_reputation_unreadable", "Events whose result could not be read."
)
DROPPED: Final = Metric(
    "sluice_deliver_reputation_dropped",
    "Results that were not counted, because there are too many clients and providers.",
)
# A keeper begins to count results if the last place on mail.reputation is older than this many
# turns.
SILENT_TURNS: Final = 3.0
READ_TIMEOUT_S: Final = 60.0
_WRITER: Final = "keeper"


class ReputationMetrics(Struct, frozen=True):
    """The counters of a keeper."""

    suspensions: Counter
    unreadable: Counter
    dropped: Counter


def make_metrics(counters: Counters) -> ReputationMetrics:
    """Register the counters."""
    found = (counters.counter(each) for each in (SUSPENSIONS, UNREADABLE, DROPPED))
    return ReputationMetrics(*found)


class KeeperParts(Struct, frozen=True):
    """The collaborators and settings of a keeper."""

    options: ClientOptions
    rules: Rules
    # The source name of each of our addresses.
    addresses: Mapping[str, str]
    view: ReputationView
    # Returns None if the orders are not known. Then the keeper gives no order.
    orders: Callable[[], Orders | None]
    providers: ProviderLookup
    clock: Clock
    metrics: ReputationMetrics
    failpoints: Failpoints = Failpoints.none()
    every_s: float = 5.0
    reputation: str = names.REPUTATION
    events: str = names.EVENTS
    control: str = names.CONTROL
    writer: str = _WRITER


class _Own(Struct):
    """The state of the keeper that counts the results."""

    book: Book
    log: EventLog


class ReputationKeeper(RunsThread):
    """Runs from start() until close(). `fault` says why the last turn failed."""

    def __init__(self, parts: KeeperParts) -> None:
        self._parts = parts
        self._producer = TransactionalProducer(
            structs.replace(parts.options, instance=parts.writer),
            "reputation",
            parts.failpoints,
            watchdog_of(parts.options),
        )
        # None while another keeper may write.
        self._own: _Own | None = None
        self._silence = Silence(parts.clock, SILENT_TURNS * parts.every_s)
        self._thread = EnduringThread(
            "reputation",
            self._run,
            expected=(KafkaError, TransactionLost),
            failed=self._failed,
            ended=self._end,
        )
        self.fault = ""

    def turn(self) -> None:
        """Count the new events and write the changes. May raise KafkaError or TransactionLost."""
        if not self._parts.view.ready():
            return
        if self._own is None:
            if not self._silence.has_begun(self._parts.view.place()):
                return
            # Another keeper may still write. Fence that keeper first, then read the records that it
            # wrote.
            self._producer.open()
            self._own = self._open()
        own, now_ms = self._own, self._parts.clock.now_ms()
        own.book.count(self._facts(own.log.read(self._parts.every_s)), now_ms)
        orders = self._parts.orders()
        found = own.book.judge(
            lambda scope: orders is None or orders.has(scope, now_ms),
            now_ms,
        )
        self._write(own, found, own.log.place(now_ms))
        self._parts.metrics.dropped.add(own.book.take_dropped())

    def _run(self) -> None:
        while not self._thread.is_closing:
            try:
                self.turn()
            except BaseException:
                self._end_counting()
                raise
            self.fault = ""
            behind = self._own is not None and self._own.log.is_behind
            self._thread.wait(0.0 if behind else self._parts.every_s)

    def _end_counting(self) -> None:
        own, self._own = self._own, None
        self._silence.forget()
        if own is not None:
            own.log.close()

    def _end(self) -> None:
        self._end_counting()
        self._producer.close()

    def _failed(self, reason: str) -> None:
        if reason != self.fault:
            log.warning("the reputation of sources cannot be counted", extra={"reason": reason})
        self.fault = reason

    def _open(self) -> _Own:
        parts = self._parts
        states = self._read()
        book = Book(parts.rules, parts.addresses, states.all())
        return _Own(book, EventLog(parts.options, parts.events, states.place))

    def _read(self) -> States:
        """Read mail.reputation up to its present end."""
        found = States()
        with closing(LogReader(self._parts.options, self._parts.reputation)) as reader:
            if PARTITION not in reader.partitions():
                raise KafkaError(f"Kafka has no topic {self._parts.reputation}")
            for record in reader.read_whole(PARTITION, READ_TIMEOUT_S):
                found.add(record)
        return found

    def _facts(self, records: list[Record]) -> list[Fact]:
        found, deadline = [], self._parts.providers.begin()
        for record in records:
            if isinstance(record, UndecodableRecord):
                continue
            try:
                fact = fact_of(record)
            except ValueError:
                self._parts.metrics.unreadable.add(1)
                continue
            if fact is not None and fact.result is Result.COMPLAINED and not fact.provider:
                provider = self._parts.providers.of(fact.recipient, deadline)
                fact = structs.replace(fact, provider=provider)
            if fact is not None:
                found.append(fact)
        return found

    def _write(self, own: _Own, orders: list[Order], place: Place) -> None:
        parts = self._parts
        changed = own.book.take_changed()
        outputs = [
            Output(parts.reputation, encode_state(state)[1] if state else None, key, (), PARTITION)
            for key, state in changed.items()
        ]
        for order in orders:
            key, value = encode_order(order)
            outputs.append(Output(parts.control, value, key, (IN_TRANSACTION,), CONTROL_PARTITION))
        key, value = encode_state(place)
        outputs.append(Output(parts.reputation, value, key, (), PARTITION))
        self._producer.commit(outputs)
        for order in orders:
            parts.metrics.suspensions.add(1, order.scope.provider)
            fields = {"client": order.scope.client, "provider": order.scope.provider}
            log.warning("client suspended at a provider: %s", order.reason, extra=fields)
