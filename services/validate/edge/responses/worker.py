"""Counts bounces from mail.events, and writes the entries that follow to mail.suppressions.

One process counts at a time, so that there is one order of all records: the member of the group
that holds the only partition of mail.control. The others stand by.

A batch is counted in three steps: the counters are read from Redis, together with the place in the
log that they stand for; the entries and the consumed offsets are written in one transaction, under
the membership of the group; the counters and the new place are stored in one script, which compares
the old place. If the process

- dies before the transaction, nothing happened, and its successor counts the same records;
- dies after it, the successor counts them again without writing entries: their offsets are
  committed;
- is paused at any step, its transaction or its script is refused;
- finds Redis empty, everything is counted again from the beginning, without entries, and the same
  counters result: their order is that of the log.

Owns: the place. Does not own: what counts (core/responses), the view that validate looks recipients
up in, which does not depend on the counters.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from kafka.structs import ConsumerGroupMetadata, OffsetAndMetadata, TopicPartition
from msgspec import Struct

from services.validate.core.responses.batch import Counted, Read, count_batch, read_batch
from services.validate.core.responses.counting import Limits
from services.validate.core.responses.merging import Merged, Source
from services.validate.core.responses.place import decode_place, encode_place
from services.validate.edge.responses.metrics import ResponseMetrics
from services.validate.edge.responses.source_log import SourceLog
from shared.registry.client import Client
from shared.registry.lookup import Clients, find_clients, require_whole
from shared.responses.bounce_counter import decode_counter, encode_counter
from shared.runtime.clock import Clock
from shared.runtime.failpoints import Failpoints
from shared.runtime.lifecycle import Stop
from shared.store.client import StoreUnavailable
from shared.store.counters import CounterPlace, CounterStore
from shared.stream.client import ClientOptions
from shared.stream.consumer import StreamConsumer
from shared.stream.loop import LoopStatus, SessionLoop
from shared.stream.relay import NotReady
from shared.stream.transactions import Output, TransactionalProducer
from shared.topics import names
from shared.topics.suppressions import PARTITION, Suppression, encode_suppression

log = logging.getLogger(__name__)

SERVICE: Final = "responses"
ELECTION_TOPIC: Final = names.CONTROL
MAX_BATCH: Final = 5_000
STAND_BY_MS: Final = 200
COUNTING_POLL_MS: Final = 10
RETRY_S: Final = 0.5


class CounterMoved(Exception):
    """The counters are at another place than this process left them."""


class WorkerParts(Struct, frozen=True):
    """The collaborators of a worker."""

    options: ClientOptions
    make_consumer: Callable[[], StreamConsumer]
    producer: TransactionalProducer
    clients: Clients
    store: CounterStore
    clock: Clock
    failpoints: Failpoints
    metrics: ResponseMetrics
    events: str = names.EVENTS
    suppressions: str = names.SUPPRESSIONS


class _Counting(Struct):
    """The state of the process that counts."""

    log: SourceLog
    place: CounterPlace
    offsets: dict[Source, int]  # the next record to be counted
    done: dict[Source, int]  # the committed offsets


class _Session:
    """The membership of the group, and the counting while this process holds the partition."""

    def __init__(self, consumer: StreamConsumer) -> None:
        self.consumer = consumer
        self.counting: _Counting | None = None

    def stop_counting(self) -> None:
        counting, self.counting = self.counting, None
        if counting is not None:
            counting.log.close()

    def close(self) -> None:
        self.stop_counting()
        self.consumer.close()


class ResponsesWorker:
    """Counts while run() runs. `status.waiting_for` and `fault` say why nothing is counted."""

    def __init__(self, parts: WorkerParts) -> None:
        self._parts = parts
        self.status = LoopStatus("Kafka: not connected yet")
        self.fault = ""

    def run(self, stop: Stop) -> None:
        """Count until `stop`. Raises FencedInstanceIdError if the instance name is in use."""
        loop = SessionLoop(SERVICE, self._open, self._turn, self.status)
        try:
            while not stop.is_set():
                if not loop.step():
                    if loop.session is not None:
                        loop.session.stop_counting()
                    stop.wait(RETRY_S)
        finally:
            loop.close()
            self._parts.producer.close()

    def why_waiting(self) -> str:
        """For /ready: why nothing is counted; "" if this process counts or stands by."""
        return self.status.waiting_for or self.fault

    def _open(self) -> _Session:
        self._parts.producer.open()
        return _Session(self._parts.make_consumer())

    def _turn(self, session: _Session) -> None:
        consumer = session.consumer
        is_chosen = bool(consumer.assignment())
        consumer.poll(COUNTING_POLL_MS if is_chosen else STAND_BY_MS, 100)
        self.status.waiting_for = ""
        membership = consumer.membership()
        if membership is None or not consumer.assignment():
            session.stop_counting()
            self.fault = ""
            return
        try:
            if session.counting is None:
                session.counting = self._begin(consumer)
            self._count(session.counting, membership)
            self.fault = ""
        except (NotReady, StoreUnavailable, CounterMoved) as error:
            session.stop_counting()
            if str(error) != self.fault:
                log.warning("counting waits: %s", error)
            self.fault = str(error)
            consumer.idle(RETRY_S)

    def _begin(self, consumer: StreamConsumer) -> _Counting:
        """Open the topics at the place of the counters."""
        parts = self._parts
        require_whole(parts.clients)
        parts.producer.open()  # ends a transaction that holds back the committed offsets
        opened = SourceLog(parts.options, (parts.events, parts.suppressions), parts.clock)
        try:
            log_id = opened.log_id()
            found = self._stored_place(log_id)
            counted = decode_place(found.place)
            begins = opened.begins()
            if any(begins[each] > counted.get(each, 0) for each in opened.sources):
                log.error("events were deleted from Kafka before their bounces were counted")
            offsets = {each: max(counted.get(each, 0), begins[each]) for each in opened.sources}
            done = {each: _committed(consumer, each) for each in opened.sources}
            opened.read_from(offsets)
        except BaseException:
            opened.close()
            raise
        parts.metrics.restarts.add()
        log.info("counting bounces", extra={"counted": sum(offsets.values())})
        return _Counting(opened, CounterPlace(log_id, found.place), offsets, done)

    def _stored_place(self, log_id: str) -> CounterPlace:
        """Return the place of the counters. Raises NotReady if they are of other topics."""
        found, _ = self._parts.store.read([])
        if found.log not in ("", log_id):
            raise NotReady(_other_log(found.log, log_id))
        return found

    def _count(self, counting: _Counting, membership: ConsumerGroupMetadata) -> None:
        parts = self._parts
        counting.log.poll()
        parts.metrics.lag.set(counting.log.lag())
        batch = counting.log.take(MAX_BATCH)
        if not batch:
            self._check(counting)
            return
        parts.failpoints.hit("responses.polled")
        read = read_batch(batch, parts.events)
        counted = self._advance(counting, read)
        offsets = counting.offsets | _ends(batch)
        parts.failpoints.hit("responses.counted")
        self._commit(counting, counted.entries, offsets, membership)
        place = encode_place(offsets)
        changed = {field: encode_counter(each) for field, each in counted.counters.items()}
        if not parts.store.apply(counting.place, place, changed):
            raise CounterMoved("the counters are at another place: they are read again")
        parts.failpoints.hit("responses.applied")
        counting.offsets = offsets
        counting.place = CounterPlace(counting.place.log, place)
        self._note(batch, read, counted)

    def _check(self, counting: _Counting) -> None:
        """Notice an emptied Redis although nothing is to be counted."""
        found, _ = self._parts.store.read([])
        if found.place != counting.place.place:
            raise CounterMoved("the counters are at another place: they are read again")

    def _advance(self, counting: _Counting, read: Read) -> Counted:
        parts = self._parts
        fields = read.fields()
        found, values = parts.store.read(fields)
        if found.place != counting.place.place:
            raise CounterMoved("the counters are at another place: they are read again")
        counters = {
            field: decode_counter(value)
            for field, value in zip(fields, values, strict=True)
            if value is not None
        }
        new = {
            step.what.client
            for step in read.steps
            if step.offset >= counting.done.get(step.source, 0)
        }
        clients = find_clients(parts.clients, new)
        return count_batch(
            read.steps, counters, counting.done, lambda name: _limits(clients.get(name))
        )

    def _commit(
        self,
        counting: _Counting,
        entries: Sequence[Suppression],
        offsets: Mapping[Source, int],
        membership: ConsumerGroupMetadata,
    ) -> None:
        """Write the entries with the offsets that are new; nothing while counting again."""
        new = {each: offset for each, offset in offsets.items() if offset > counting.done[each]}
        if not new:
            return
        named = {
            TopicPartition(*source): OffsetAndMetadata(offset, "", -1)
            for source, offset in new.items()
        }
        outputs = [self._output(each) for each in entries]
        self._parts.producer.commit(outputs, named, membership)
        counting.done.update(new)

    def _output(self, entry: Suppression) -> Output:
        key, value = encode_suppression(entry)
        return Output(self._parts.suppressions, value, key, (), PARTITION)

    def _note(self, batch: Sequence[Merged], read: Read, counted: Counted) -> None:
        metrics = self._parts.metrics
        metrics.records.add(len(batch))
        for entry in counted.entries:
            metrics.entries.add(1, entry.client, entry.reason.value)
        if read.unreadable:
            metrics.unreadable.add(read.unreadable)
            log.error("%d events could not be read and are not counted", read.unreadable)


def _ends(batch: Sequence[Merged]) -> dict[Source, int]:
    return {source: record.offset + 1 for _, source, record in batch}


def _committed(consumer: StreamConsumer, source: Source) -> int:
    found: Any = consumer.committed(TopicPartition(*source))
    return max(found.offset, 0) if found is not None else 0


def _limits(client: Client | None) -> Limits | None:
    return Limits(client.hard_limit, client.soft_limit) if client is not None else None


def _other_log(known: str, found: str) -> str:
    return (
        f"mail.events or mail.suppressions was created again (ids {found}, the counters are of"
        f" {known}): `sluice responses rebuild` drops the counters and counts what is there now"
    )
