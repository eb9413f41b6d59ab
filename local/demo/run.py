"""The demo itself: register the clients, publish, follow, wait, reconcile.

Owns: the order of these steps on a running pipeline. Does not own: starting and stopping the
pipeline (__main__.py), the display (display.py).
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from importlib.resources import files
from typing import Any, Final
from urllib.parse import urlsplit

from kafka.errors import KafkaError
from msgspec import Struct, structs

from local.demo.display import Display, Progress
from local.demo.event_follower import EventFollower
from local.demo.mailing import Publication, publications
from local.demo.reconciliation import Reconciliation, Row, reconcile, row_of, witness
from local.parts.services import get_json
from local.parts.unavailable import PartNotStarted
from local.stack import Stack
from shared.registry.file.clients_file import parse_clients_yaml
from shared.registry.store.changes import Changes
from shared.registry.store.publish import apply
from shared.settings.sections import KafkaSettings
from shared.stream.client import ClientOptions, make_producer

_SEED: Final = 20260701
_LOOK_EVERY_S: Final = 0.1
# Shorter than a clients.yaml may set: mail to a full mailbox expires while the demo runs.
MAX_AGE_S: Final = 20
# After so long without progress, messages still in flight are stuck, and the demo ends.
STALL_S: Final = 60.0
_BILLING_WAIT_S: Final = 30
_FLUSH_TIMEOUT_S: Final = 120.0
# Records passed to the producer and not yet acknowledged: about 50 MB of demo mail.
_OUTSTANDING: Final = 2_000
# Most messages in flight at a time, so that in a large demo none expires while it waits.
_IN_FLIGHT: Final = 4_000


class DemoRun(Struct, frozen=True):
    """The result of a demo: the number of published records, and the reconciliation."""

    published: int
    reckoning: Reconciliation


def perform(stack: Stack, count: int, display: Display) -> DemoRun:
    """Run the demo on a pipeline that is ready."""
    months = {_month()}
    bootstrap = stack.doors.kafka
    register(bootstrap)
    follower = EventFollower(bootstrap)
    follower.start()
    try:
        records = publications(count, _SEED, time.time())
        publisher = Publisher(bootstrap, records, count, lambda: follower.counts().ended)
        _watch(publisher, follower, display)
        months.add(_month())
        counts = follower.counts()
    finally:
        follower.close()
    billed = read_bill(stack, months)
    seen = witness(_journal(stack), publisher.rows)
    reckoning = reconcile(publisher.acknowledged, counts.finals, counts.doubled, billed, seen)
    return DemoRun(publisher.acknowledged, reckoning)


def register(bootstrap: str) -> None:
    """Register the demo's clients, like `./sluice clients apply`."""
    text = files("local.demo").joinpath("clients.yaml").read_text("utf-8")
    clients = [structs.replace(each, max_age_s=MAX_AGE_S) for each in parse_clients_yaml(text)]
    apply(KafkaSettings(bootstrap=bootstrap), Changes(added=tuple(clients)))


class Publisher:
    """Publishes in a thread of its own; counts the records that Kafka acknowledged."""

    def __init__(
        self,
        bootstrap: str,
        records: Iterator[Publication],
        wanted: int,
        ended: Callable[[], int],
    ) -> None:
        self.wanted = wanted
        self.acknowledged = 0
        self.rows: dict[str, Row] = {}  # the row that a message to this recipient is billed to
        self.error = ""
        self._records = records
        self._ended = ended
        self._producer = make_producer(ClientOptions(bootstrap, "demo"), None)
        self._room = threading.Semaphore(_OUTSTANDING)
        self._thread = threading.Thread(target=self._publish, name="publisher", daemon=True)
        self._thread.start()

    @property
    def is_done(self) -> bool:
        """Whether everything is acknowledged, or publishing failed."""
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


def _watch(publisher: Publisher, follower: EventFollower, display: Display) -> None:
    """Wait until every message has ended, or nothing happens any more."""
    last, moved_at = None, time.monotonic()
    while True:
        counts = follower.counts()
        display.show(Progress(publisher.acknowledged, publisher.wanted, counts))
        if publisher.error:
            raise PartNotStarted(f"publishing failed: {publisher.error}")
        if publisher.is_done and counts.ended >= publisher.acknowledged:
            return
        state = (publisher.acknowledged, counts.words)
        if state != last:
            last, moved_at = state, time.monotonic()
        if time.monotonic() - moved_at > STALL_S:
            return
        time.sleep(_LOOK_EVERY_S)


def read_bill(stack: Stack, months: set[str]) -> dict[Row, int]:
    """Read the counts from billing's API; waits until it has counted everything."""
    billed: dict[Row, int] = {}
    for month in months:
        for row in _usage(stack, month):
            if row["billed"]:
                key = (row["client"], row["mailing_id"], row["sub_client"])
                billed[key] = billed.get(key, 0) + row["billed"]
    return billed


def _usage(stack: Stack, month: str) -> list[dict[str, Any]]:
    port = urlsplit(stack.doors.billing or "").port or 0
    give_up_at = time.monotonic() + _BILLING_WAIT_S
    while True:
        status, found = get_json(port, f"/v1/usage?month={month}&wait_s=1")
        if status == 200 and isinstance(found, dict):
            if found["complete"] or time.monotonic() > give_up_at:
                rows: list[dict[str, Any]] = found["rows"]
                return rows
        elif time.monotonic() > give_up_at:
            raise PartNotStarted(f"billing does not answer at {stack.doors.billing}: HTTP {status}")
        time.sleep(_LOOK_EVERY_S)


def _journal(stack: Stack) -> Iterator[dict[str, Any]]:
    with stack.sink_journal.open("rb") as lines:
        for text in lines:
            yield json.loads(text)


def _month() -> str:
    return datetime.now(UTC).strftime("%Y-%m")
