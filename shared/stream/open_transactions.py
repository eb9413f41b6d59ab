"""Ends transactions of dead or suspended processes, so that the transactions block no process.

If an open transaction has written to a partition, readers of committed records stop at the
transaction's first record in this partition. The broker also does not return the offsets that the
transaction commits. If the owner dies, a new process with the same instance name ends the
transaction. Without a new process, only the broker ends the transaction, after the transaction
time-out. This time-out has to be long (docs/decisions/0005-transaction-timeout.md).

Therefore every service watches the open transactions of all services. A transaction that was seen
open for ABANDONED_S is fenced, so its producer can no longer write, and the whole transaction is
aborted. Every owner must be able to handle a fenced transaction. Time is counted only while the
brokers answer and this process runs. So after an outage of the brokers or a pause of this process,
the owner first has the chance to finish its transaction. The clock is read before each request for
the open transactions is sent. Before a transaction is ended, the transaction is looked up once
more, because this process may have been paused since the last request, and the owner may have
continued.

This module owns a thread and a connection. The thread never blocks its service and never causes a
failure of the service.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable
from typing import Any, Final, Self

from kafka.admin import TransactionState
from kafka.errors import KafkaError
from msgspec import Struct

from shared.runtime.clock import monotonic
from shared.stream.client import ClientOptions, make_admin, make_producer
from shared.stream.kafka_python.producing import discard

log = logging.getLogger(__name__)

PREFIX: Final = "sluice."
LOOK_S: Final = 4.0
# The maximum time that is counted between two looks. If more time has passed, this process was
# paused, or the brokers answered late.
MOST_COUNTED_S: Final = 2.5 * LOOK_S
# This limit is longer than a transaction takes on a slow machine. The limit is only twice the
# session time-out, because after one session time-out another member may already wait for the
# offsets.
ABANDONED_S: Final = 20.0
_REQUEST_TIMEOUT_MS: Final = 10_000
_CLOSE_TIMEOUT_S: Final = 5.0


class Transaction(Struct, frozen=True):
    """One open transaction of a producer."""

    transactional_id: str
    producer_id: int
    producer_epoch: int
    started_ms: int


class Abandoned:
    """Finds the transactions that have been open for too long. Pure."""

    def __init__(self, after_s: float = ABANDONED_S) -> None:
        self._after_s = after_s
        # The number of seconds for which each transaction was seen open.
        self._seen: dict[Transaction, float] = {}
        self._looked_at = float("-inf")

    def look(self, open_now: Iterable[Transaction], asked_at: float) -> list[Transaction]:
        """Return the transactions to end.

        `open_now` are the transactions that this look found open. `asked_at` is the time before the
        look, in monotonic seconds.
        """
        passed_s = min(asked_at - self._looked_at, MOST_COUNTED_S)
        self._looked_at = asked_at
        before = self._seen
        self._seen = {one: before[one] + passed_s if one in before else 0.0 for one in open_now}
        return [one for one, open_s in self._seen.items() if open_s >= self._after_s]

    def forget(self) -> None:
        """Restart the count at 0 s for all transactions, because the brokers did not answer."""
        self._seen.clear()


class OpenTransactions:
    """The thread that watches the open transactions of all services."""

    def __init__(self, options: ClientOptions, abandoned: Abandoned | None = None) -> None:
        self._options = options
        self._abandoned = abandoned or Abandoned()
        self._closing = threading.Event()
        self._admin: Any = None
        self._thread = threading.Thread(target=self._run, name="open-transactions", daemon=True)
        self.ended = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._closing.set()
        self._thread.join(_CLOSE_TIMEOUT_S)

    def _run(self) -> None:
        while not self._closing.wait(LOOK_S):
            try:
                self._look()
            except KafkaError as error:
                log.debug("cannot list open transactions: %s", error)
                self._give_up_admin()
            except Exception:
                # A fault of the client library must not end this thread.
                log.exception("cannot list open transactions")
                self._give_up_admin()
        self._give_up_admin()

    def _look(self) -> None:
        if self._admin is None:
            self._admin = make_admin(self._options, _REQUEST_TIMEOUT_MS)
        asked_at = monotonic()
        for one in self._abandoned.look(open_transactions(self._admin), asked_at):
            if one not in open_transactions(self._admin):
                continue
            log.warning("ending the abandoned transaction of %s", one.transactional_id)
            fence(self._options, one.transactional_id)
            self.ended += 1

    def _give_up_admin(self) -> None:
        self._abandoned.forget()
        admin, self._admin = self._admin, None
        if admin is not None:
            admin.close()


def open_transactions(admin: Any) -> list[Transaction]:
    """Return the open transactions of Sluice's processes. Raises KafkaError."""
    # Pass the value: for an enum member, kafka-python 3.0.12 sends a name that matches no state.
    listed = admin.list_transactions(state_filters=[TransactionState.ONGOING.value])
    ids = [
        one.transactional_id
        for found in listed.values()
        for one in found
        if one.transactional_id.startswith(PREFIX)
    ]
    described = admin.describe_transactions(ids) if ids else {}
    return [
        Transaction(name, one.producer_id, one.producer_epoch, one.transaction_start_time_ms)
        for name, one in described.items()
        if one.state is TransactionState.ONGOING
    ]


def fence(options: ClientOptions, transactional_id: str) -> None:
    """Abort the open transaction of this id and fence its producer. Raises KafkaError."""
    producer = make_producer(options, transactional_id)
    try:
        producer.init_transactions()
    finally:
        discard(producer)
