"""Runs the demo: registers clients, publishes mail, waits for events, compares the counts.

Owns: the order of these steps, on a pipeline that is already running. Does not own: starting and
stopping the pipeline (__main__.py), the display (display.py).
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime
from importlib.resources import files
from typing import Any, Final

from kafka.errors import KafkaError
from msgspec import Struct, structs

from local.demo.display import Display, Progress
from local.demo.mailing import (
    AGAIN,
    CLIENT_AGAIN,
    COMING_BACK,
    Publication,
    once_more,
    publications,
)
from local.demo.observing import Counts, EventFollower, read_bill
from local.demo.reconciliation import (
    Reconciliation,
    Returns,
    Row,
    reconcile,
    row_of,
    witness,
)
from local.process import PartNotStarted
from local.stack import Stack
from shared.registry.client import Client
from shared.registry.file.clients_file import parse_clients_yaml
from shared.registry.store.changes import Changes
from shared.registry.store.publish import apply
from shared.settings.sections import KafkaSettings, RedisSettings
from shared.store.client import connect
from shared.store.suppressions import SuppressionStore
from shared.stream.client import ClientOptions, make_producer
from shared.topics.suppressions import field_of

_SEED: Final = 20260701
_ROUNDS: Final = 4  # Each recipient gets three messages that bounce, and one that is suppressed.
_MANY: Final = 100
_LOOK_EVERY_S: Final = 0.1
# This lifetime is shorter than clients.yaml allows, so that mail to a full mailbox expires while
# the demo runs.
MAX_AGE_S: Final = 20
# After this time without progress, waiting messages are considered stuck, and the demo ends.
STALL_S: Final = 120.0
_FLUSH_TIMEOUT_S: Final = 120.0
# At most this many records in the producer are not acknowledged. These records have about 50 MB.
_OUTSTANDING: Final = 2_000
# At most this many messages are in flight. In a large demo, messages could otherwise expire while
# they wait.
_IN_FLIGHT: Final = 4_000


class DemoRun(Struct, frozen=True):
    """The result of a demo: the number of published records, and the reconciliation."""

    published: int
    reckoning: Reconciliation


def perform(stack: Stack, count: int, display: Display) -> DemoRun:
    """Run the demo on a pipeline that is ready."""
    months = {_month()}
    bootstrap = stack.endpoints.kafka
    clients = register(bootstrap)
    follower = EventFollower(bootstrap)
    follower.start()
    # A demo of only a few messages sends nothing to the recipients in AGAIN.
    again = len(AGAIN) * _ROUNDS if count >= _MANY else 0
    act = _Act(bootstrap, follower, display, count)
    try:
        act.play(publications(count - again, _SEED, time.time()))
        if again:
            bounce_until_suppressed(stack, act, count - again)
        wait_for_returns(act, clients)
        months.add(_month())
        counts = follower.counts()
    finally:
        follower.close()
    billed = read_bill(stack, months)
    addresses = {client.forwarding_address for client in clients}
    seen = witness(_journal(stack), act.rows, addresses)
    reckoning = reconcile(
        act.acknowledged,
        counts.finals,
        counts.doubled,
        billed,
        seen,
        _returns(act, counts, clients),
    )
    return DemoRun(act.acknowledged, reckoning)


def register(bootstrap: str) -> tuple[Client, ...]:
    """Register the demo's clients, like `./sluice clients apply`."""
    text = files("local.demo").joinpath("clients.yaml").read_text("utf-8")
    clients = tuple(structs.replace(each, max_age_s=MAX_AGE_S) for each in parse_clients_yaml(text))
    apply(KafkaSettings(bootstrap=bootstrap), Changes(added=clients))
    return clients


class _Act:
    """Publishes the mail of the demo in several parts, and shows the progress of all parts
    together. `rows` maps recipients to rows of the bill."""

    def __init__(
        self, bootstrap: str, follower: EventFollower, display: Display, wanted: int
    ) -> None:
        self.follower = follower
        self.acknowledged = 0
        self.rows: dict[str, Row] = {}
        self._bootstrap = bootstrap
        self._display = display
        self._wanted = wanted

    def play(self, records: Iterable[Publication]) -> None:
        """Publish these messages. Wait until all have a final event, or nothing has changed for
        STALL_S."""
        before, follower = self.acknowledged, self.follower
        publisher = Publisher(
            self._bootstrap, records, self._wanted, lambda: follower.counts().ended - before
        )

        def is_done() -> bool:
            if publisher.error:
                raise PartNotStarted(f"publishing failed: {publisher.error}")
            self.acknowledged = before + publisher.acknowledged
            return publisher.is_done and follower.counts().ended >= self.acknowledged

        self.wait(is_done)
        self.rows |= publisher.rows

    def wait(self, is_done: Callable[[], bool]) -> None:
        """Wait until `is_done` returns True, or until nothing has changed for STALL_S."""
        last, moved_at = None, time.monotonic()
        while not is_done():
            counts = self.follower.counts()
            self._display.show(Progress(self.acknowledged, self._wanted, counts))
            state = (self.acknowledged, counts.words)
            if state != last:
                last, moved_at = state, time.monotonic()
            if time.monotonic() - moved_at > STALL_S:
                return
            time.sleep(_LOOK_EVERY_S)


def bounce_until_suppressed(stack: Stack, act: _Act, first: int) -> None:
    """Send bouncing mail to the same recipients until the last message is suppressed."""
    for round_ in range(_ROUNDS):
        if round_ == _ROUNDS - 1:
            act.wait(lambda: _are_suppressed(stack))
        act.play(once_more(round_, first + 1 + round_ * len(AGAIN), _SEED, time.time()))


def _are_suppressed(stack: Stack) -> bool:
    """Return True if the validate service knows that the recipients are suppressed."""
    with closing(connect(RedisSettings(url=stack.endpoints.redis), decode_responses=False)) as view:
        store = SuppressionStore(view, RedisSettings().suppressions_key)
        fields = b"".join(field_of(CLIENT_AGAIN, each) for each in AGAIN)
        found = store.find(store.state().log, 0, fields)
        return found is not None and len(found) == len(AGAIN) and all(found)


def wait_for_returns(act: _Act, clients: Sequence[Client]) -> None:
    """Wait until all reports of the sink have arrived, and all mail to forwarding addresses was
    sent."""

    def is_done() -> bool:
        found = _returns(act, act.follower.counts(), clients)
        came = found.returned + found.complained
        return came >= found.reports_sent and sum(found.forwarded.values()) >= found.wanted

    act.wait(is_done)


def _returns(act: _Act, counts: Counts, clients: Sequence[Client]) -> Returns:
    returned, complained = counts.word("returned"), counts.word("complained")
    wanted = sum(
        counts.unsent.get((each.name, word), 0) for each in clients for word in each.returns
    )
    return Returns(
        returned=returned,
        complained=complained,
        forwarded=counts.forwarded,
        reports_sent=sum(recipient.startswith(COMING_BACK) for recipient in act.rows),
        wanted=returned + complained + wanted,
    )


class Publisher:
    """Publishes messages in a thread, and counts the records that Kafka has acknowledged."""

    def __init__(
        self,
        bootstrap: str,
        records: Iterable[Publication],
        wanted: int,
        ended: Callable[[], int],
    ) -> None:
        self.wanted = wanted
        self.acknowledged = 0
        self.rows: dict[str, Row] = {}  # Maps each recipient to a row of the bill.
        self.error = ""
        self._records = records
        self._ended = ended
        self._producer = make_producer(ClientOptions(bootstrap, "demo"), None)
        self._room = threading.Semaphore(_OUTSTANDING)
        self._thread = threading.Thread(target=self._publish, name="publisher", daemon=True)
        self._thread.start()

    @property
    def is_done(self) -> bool:
        """Return True if Kafka has acknowledged all records, or if publishing has failed."""
        return not self._thread.is_alive()

    def _publish(self) -> None:
        try:
            for number, record in enumerate(self._records):
                self._room.acquire()
                while number - self._ended() >= _IN_FLIGHT and not self.error:
                    time.sleep(_LOOK_EVERY_S)
                if record.recipient:
                    self.rows[record.recipient] = row_of(record)
                future = self._producer.send(record.topic, value=record.content)
                future.add_callback(self._acknowledge)
                future.add_errback(self._fail)
            self._producer.flush(timeout=_FLUSH_TIMEOUT_S)
        except KafkaError as error:
            self._fail(error)
        finally:
            self._producer.close(timeout=1)

    def _acknowledge(self, _metadata: object) -> None:
        self.acknowledged += 1
        self._room.release()

    def _fail(self, error: BaseException) -> None:
        self.error = self.error or f"{type(error).__name__}: {error}"
        self._room.release()


def _journal(stack: Stack) -> Iterator[dict[str, Any]]:
    with stack.sink_journal.open("rb") as lines:
        for text in lines:
            yield json.loads(text)


def _month() -> str:
    return datetime.now(UTC).strftime("%Y-%m")
