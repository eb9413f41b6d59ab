"""Counts bounces from mail.events, and writes the resulting entries to mail.suppressions.

Only one process counts at a time, so that all records are counted in one order. This process is the
member of the group to which the only partition of mail.control is assigned. The other processes are
on standby.

A batch is counted in three steps. (1) The counters are read from Redis, together with the place in
the log up to which they count. (2) The entries and the consumed offsets are written in one
transaction, under the membership of the group. (3) One script stores the counters and the new
place, if the old place in Redis is unchanged. If the process

- dies before the transaction, nothing was written, and its successor counts the same records;
- dies after the transaction, its successor counts the records again, but writes no entries, because
  the offsets of these records are committed;
- is paused at any step, its transaction or its script is refused;
- finds Redis empty, everything is counted again from the beginning, without writing entries. The
  recount gives the same counters, because records are counted in the order of the log.

The rules also determine which bounces are counted. The rules consist of the operators' reviews on
mail.control and the settings of incidents (shared/responses/counting/batch.py). The digest of the
rules is stored with the counters. If the stored digest differs from the digest of the present
rules, the counters are dropped and all bounces are counted again. This recount writes no entries
either, because the command that writes a review also writes the resulting entries.

Owns: the place up to which the counters count. Does not own: the decision which bounces are counted
(shared/responses/counting), and the view of suppressed recipients. The view does not depend on the
counters.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from typing import Final

from kafka.structs import ConsumerGroupMetadata, OffsetAndMetadata, TopicPartition

from services.validate.edge.responses.opening import Counting, WorkerParts, open_counting
from shared.registry.client import Client
from shared.registry.lookup import find_clients
from shared.responses.counting.batch import (
    Counted,
    Judging,
    Read,
    count_batch,
    read_batch,
    rules_of,
)
from shared.responses.counting.counting import Limits, decode_counter, encode_counter
from shared.responses.counting.incidents import (
    Incidents,
    encode_incidents,
)
from shared.responses.counting.merging import Merged, Source, encode_place
from shared.runtime.lifecycle import Stop
from shared.store.client import StoreUnavailable
from shared.store.counters import INCIDENTS_FIELD, RULES_FIELD, CounterPlace
from shared.stream.consumer import StreamConsumer
from shared.stream.loop import LoopStatus, SessionLoop
from shared.stream.relay import NotReady
from shared.stream.transactions import Output
from shared.topics import names
from shared.topics.suppressions import PARTITION, Suppression, encode_suppression

log = logging.getLogger(__name__)

SERVICE: Final = "responses"
ELECTION_TOPIC: Final = names.CONTROL
MAX_BATCH: Final = 5_000
STAND_BY_MS: Final = 200
COUNTING_POLL_MS: Final = 10
# The longest wait for the next turn. The limit is needed in case the clock was changed.
MAX_POLL_MS: Final = 500
RETRY_S: Final = 0.5


class CounterMoved(Exception):
    """The place of the counters is not the place that this process stored last."""


class RulesChanged(Exception):
    """An operator has reviewed bounces that were counted under other rules."""


class _Session:
    """The membership of the group, and the counting under this membership."""

    def __init__(self, consumer: StreamConsumer) -> None:
        self.consumer = consumer
        self.counting: Counting | None = None
        # The time at which the next turn of counting is due, in monotonic seconds.
        self.due_at = 0.0

    def stop_counting(self) -> None:
        counting, self.counting = self.counting, None
        if counting is not None:
            counting.close()

    def close(self) -> None:
        self.stop_counting()
        self.consumer.close()


class ResponsesWorker:
    """Counts bounces in run(). While run() cannot count, `status.waiting_for` or `fault` is the
    reason."""

    def __init__(self, parts: WorkerParts) -> None:
        self._parts = parts
        self.status = LoopStatus("Kafka: not connected yet")
        self.fault = ""
        self._shown: set[tuple[str, str, int]] = set()

    def run(self, stop: Stop) -> None:
        """Count until `stop` is set. Raises FencedInstanceIdError if the instance name is in
        use."""
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
        """Return, for /ready, the reason why this process cannot count; "" if it counts or is on
        standby."""
        return self.status.waiting_for or self.fault

    def _open(self) -> _Session:
        self._parts.producer.open()
        return _Session(self._parts.make_consumer())

    def _turn(self, session: _Session) -> None:
        consumer = session.consumer
        consumer.poll(self._poll_ms(session), 100)
        self.status.waiting_for = ""
        membership = consumer.membership()
        if membership is None or not consumer.assignment():
            session.stop_counting()
            self._parts.metrics.incidents.set(0)
            self.fault = ""
            return
        try:
            if session.counting is None:
                session.counting = self._begin(consumer)
            is_full = self._count(session.counting, membership)
            source_log = session.counting.log
            # When all known records are read, the log must be checked again, because the order of
            # further records is known only after this check.
            is_behind = is_full or source_log.is_behind()
            session.due_at = 0.0 if is_behind else source_log.next_look()
            self.fault = ""
        except (NotReady, StoreUnavailable, CounterMoved, RulesChanged) as error:
            session.stop_counting()
            if str(error) != self.fault:
                log.warning("counting waits: %s", error)
            self.fault = str(error)
            consumer.idle(RETRY_S)

    def _poll_ms(self, session: _Session) -> int:
        """Return how long to poll for the membership. The poll ends when the next turn of counting
        is due."""
        if not session.consumer.assignment():
            return STAND_BY_MS
        left_ms = (session.due_at - self._parts.clock.monotonic()) * 1000
        # The time is rounded up, because a turn that begins a fraction of a millisecond early finds
        # nothing to count.
        return math.ceil(min(max(left_ms, COUNTING_POLL_MS), MAX_POLL_MS))

    def _begin(self, consumer: StreamConsumer) -> Counting:
        counting = open_counting(self._parts, consumer)
        self._parts.metrics.restarts.add()
        self._show_incidents(counting.incidents)
        log.info("counting of bounces begins", extra={"counted": sum(counting.offsets.values())})
        return counting

    def _count(self, counting: Counting, membership: ConsumerGroupMetadata) -> bool:
        """Count the next records; return True if this turn was full, so more records may wait."""
        parts = self._parts
        counting.log.poll()
        reviews = counting.reviews
        if reviews.read_on() and rules_of(parts.policy, reviews.known()) != counting.rules:
            raise RulesChanged("an operator has reviewed bounces: they are counted again")
        parts.metrics.lag.set(counting.log.lag())
        batch = counting.log.take(MAX_BATCH)
        if not batch:
            self._check(counting)
            return False
        parts.failpoints.hit("responses.polled")
        read = read_batch(batch, parts.events)
        counted = self._advance(counting, read)
        offsets = counting.offsets | _ends(batch)
        parts.failpoints.hit("responses.counted")
        self._commit(counting, counted.entries, offsets, membership)
        place = encode_place(offsets)
        changed = {field: encode_counter(each) for field, each in counted.counters.items()}
        changed[RULES_FIELD] = counting.rules.digest()
        changed[INCIDENTS_FIELD] = encode_incidents(counted.incidents)
        if not parts.store.apply(counting.place, place, changed):
            raise CounterMoved("the counters in Redis are at other offsets: they are read again")
        parts.failpoints.hit("responses.applied")
        counting.offsets = offsets
        counting.place = CounterPlace(counting.place.log, place)
        counting.incidents = counted.incidents
        self._note(batch, read, counted)
        return len(batch) == MAX_BATCH

    def _check(self, counting: Counting) -> None:
        """Detect that Redis was emptied, even while there is nothing to count."""
        found, _ = self._parts.store.read([])
        if found.place != counting.place.place:
            raise CounterMoved("the counters in Redis are at other offsets: they are read again")

    def _advance(self, counting: Counting, read: Read) -> Counted:
        parts = self._parts
        fields = read.fields()
        found, values = parts.store.read(fields)
        if found.place != counting.place.place:
            raise CounterMoved("the counters in Redis are at other offsets: they are read again")
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
            read.steps,
            counters,
            counting.done,
            lambda name: _limits(clients.get(name)),
            Judging(counting.rules, counting.incidents),
        )

    def _commit(
        self,
        counting: Counting,
        entries: Sequence[Suppression],
        offsets: Mapping[Source, int],
        membership: ConsumerGroupMetadata,
    ) -> None:
        """Write the entries together with the new offsets. While records are counted again, write
        nothing."""
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
        for (provider, status), number in counted.held.items():
            metrics.held.add(number, provider, status)
        self._show_incidents(counted.incidents)
        if read.unreadable:
            metrics.unreadable.add(read.unreadable)
            log.error("%d events could not be read and are not counted", read.unreadable)

    def _show_incidents(self, incidents: Incidents) -> None:
        """Export the number of open incidents, and log each new incident."""
        found = {
            (each.provider, each.status, each.opened_ms): each for each in incidents.open_ones()
        }
        for key, each in found.items():
            if key not in self._shown:
                extra = {"provider": each.provider, "status": each.status}
                log.warning("incident at a provider: its hard bounces are held", extra=extra)
        self._shown = set(found)
        self._parts.metrics.incidents.set(len(found))


def _ends(batch: Sequence[Merged]) -> dict[Source, int]:
    return {source: record.offset + 1 for _, source, record in batch}


def _limits(client: Client | None) -> Limits | None:
    return Limits(client.hard_limit, client.soft_limit) if client is not None else None
