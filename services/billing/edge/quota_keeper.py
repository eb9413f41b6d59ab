"""Counts the use of each quota, and publishes the result as states, beats and events.

Every billing process runs a keeper in a thread. The keeper works in turns, which begin every
`every_s`. In each turn, the keeper reads the counts of accepted mail, compares them with the states
on billing.quotas (core/quotas.py), and writes states and events in one transaction. After the first
BURST_S seconds of reads, reads may take only SHARE of the time, which is one second per minute. If
reads have already taken more than this share, a turn does not read the counts. But if the last read
was more than MAX_WAIT_S ago, the counts are always read.

All keepers share one transactional id. When a keeper opens this id, the transaction of any other
keeper is aborted, and the other keeper is fenced. The keeper that opened the id then reads
billing.quotas to its end. If a commit of this keeper succeeds, no other keeper has written after
the id was opened. So one event is published per threshold, for any number of processes. A keeper
does not write while the beats of another keeper arrive. The keeper opens the id only after these
beats have stopped. A beat is written in each turn, even if nothing was counted. A keeper writes no
beat while it reads the counts. Therefore the other keepers also wait for the time that their own
last read took. A keeper that was fenced, for example after a pause, waits until the beats of the
other keeper stop.

On failure, nothing is written, and the next turn compares the counts again. A failed read does not
delay the next turn. If the beats stop, another keeper takes over. If the store hangs, a read fails
after its time-out, and the reader is closed after a shorter time-out. If the store loses cells,
they are restored, and the published use does not fall until they are restored. If Kafka, the store
or the registry is unavailable, nothing is published, and the validate service continues with the
last known states.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from typing import Final

from kafka.errors import KafkaError
from msgspec import Struct, structs

from services.billing.core.answer import lag
from services.billing.core.month import Months
from services.billing.core.quotas import (
    Pace,
    Plan,
    Present,
    plan,
    uncounted,
    used_of,
)
from services.billing.edge.cells import Cells
from services.billing.edge.log_ends import KafkaUnavailable
from services.billing.edge.one_moment import AcceptedMail
from services.billing.edge.usage_view import AsksEnds, progress_of
from shared.quotas.view import Quotas, QuotaView
from shared.registry.client import Client, Limit, all_limits
from shared.runtime.clock import Clock
from shared.runtime.errors import Unavailable
from shared.runtime.failpoints import Failpoints
from shared.runtime.threads import EnduringThread, RunsThread
from shared.stream.client import ClientOptions
from shared.stream.client_events import ClientEvents
from shared.stream.log_reader import LogReader
from shared.stream.outputs import client_copy
from shared.stream.topic_follower import Silence
from shared.stream.transactions import Output, TransactionalProducer, TransactionLost
from shared.stream.watchdog import watchdog_of
from shared.topics import names
from shared.topics.quotas import (
    BEAT,
    PARTITION,
    QuotaScope,
    encode_beat,
    encode_quota_event,
    encode_scope,
    encode_state,
)

log = logging.getLogger(__name__)
# A keeper takes over if the last beat is older than this many turns.
SILENT_TURNS: Final = 3.0
SHARE: Final = 1 / 60
# The number of seconds that reads may take before their share is limited. This is enough to read
# some big months.
BURST_S: Final = 20.0
# Even if reads take long, a read begins when the last read was this many seconds ago.
MAX_WAIT_S: Final = 60.0
READ_TIMEOUT_S: Final = 30.0
_WRITER: Final = "quotas"


class KeeperParts(Struct, frozen=True):
    """The collaborators and settings of a keeper."""

    options: ClientOptions
    cells: Cells
    ends: AsksEnds
    months: Months
    clock: Clock
    view: QuotaView
    # Returns the registered clients by name, or None while they are not known.
    clients: Callable[[], Mapping[str, Client] | None]
    own_events: ClientEvents | None = None
    failpoints: Failpoints = Failpoints.none()
    every_s: float = 5.0
    topic: str = names.QUOTAS
    events: str = names.EVENTS
    writer: str = _WRITER


class QuotaKeeper(RunsThread):
    """Counts the use of quotas from start() until close(). `fault` is the reason why the last turn
    failed, or ""."""

    def __init__(self, parts: KeeperParts) -> None:
        self._parts = parts
        self._producer = TransactionalProducer(
            structs.replace(parts.options, instance=parts.writer),
            "billing",
            parts.failpoints,
            watchdog_of(parts.options),
            parts.own_events,
        )
        # The records that this keeper has written or read. None while another keeper may write.
        self._own: Quotas | None = None
        self._accepted = AcceptedMail(parts.cells)
        self._pace = Pace(SHARE, BURST_S, MAX_WAIT_S)
        self._reading_s = 0.0  # the duration of the last read
        self._silence = Silence(parts.clock, SILENT_TURNS * parts.every_s)
        self._thread = EnduringThread(
            "quotas",
            self._run,
            expected=(KafkaError, Unavailable, TransactionLost),
            failed=self._failed,
            ended=self._ended,
        )
        self.fault = ""

    def turn(self) -> None:
        """Once, compare the counts with the states and write the changes. May raise KafkaError,
        Unavailable, TransactionLost."""
        try:
            self._turn()
        except BaseException as error:
            if self._own is not None and isinstance(error, TransactionLost):
                self._silence.restart(self._parts.view.beat())
            self._own = None
            raise

    def _turn(self) -> None:
        clients = self._parts.clients()
        if clients is None or not self._parts.view.ready():
            return
        limits = all_limits(clients.values())
        if not limits and not self._parts.view.states():
            return
        if self._own is None:
            if not self._silence.has_begun(self._parts.view.beat(), self._reading_s):
                self._accepted.close()
                return
            # Another keeper may still write. So fence the other keeper first, and then read its
            # records.
            self._producer.open()
            self._own = self._read()
        self._write(self._own, self._plan(self._own, limits), clients)

    def _run(self) -> None:
        clock = self._parts.clock
        while not self._thread.is_closing:
            begun = clock.monotonic()
            self.turn()
            self.fault = ""
            self._thread.wait(self._parts.every_s - (clock.monotonic() - begun))

    def _failed(self, reason: str) -> None:
        if reason != self.fault:
            log.warning(
                "the use of quotas cannot be counted; trying again", extra={"reason": reason}
            )
        self.fault = reason

    def _ended(self) -> None:
        # Close the producer first, because other processes may wait for the end of its transaction.
        self._producer.close()
        self._accepted.close()

    def _plan(self, own: Quotas, limits: Mapping[QuotaScope, Limit]) -> Plan:
        clock = self._parts.clock
        is_due = self._pace.wait_s(clock.monotonic()) <= 0
        counted = self._count(limits) if is_due else None
        if counted is None:
            now_ms = clock.now_ms()
            return uncounted(own.beat, self._parts.months.of(now_ms), now_ms)
        used, present = counted
        return plan(own.states, own.beat, limits, used, present)

    def _count(
        self, limits: Mapping[QuotaScope, Limit]
    ) -> tuple[dict[QuotaScope, int], Present] | None:
        """Return the use of each quota and the moment of the counts. Return None while the cells
        are being restored."""
        parts = self._parts
        now_ms = parts.clock.now_ms()
        month = parts.months.of(now_ms)
        # Ask for the end offsets before the cells are read. If the counts reach these offsets, the
        # counts include every event that was committed before the query.
        log_ends = parts.ends.ask()
        began = parts.clock.monotonic()
        snapshot, accepted = self._accepted.read(month)
        now = parts.clock.monotonic()
        # The duration of the read includes pauses of this process. So the stored duration is
        # limited, because a long pause must not delay a takeover.
        self._reading_s = min(now - began, MAX_WAIT_S)
        self._pace.took(now - began, now)
        if not snapshot.whole:
            return None
        # Holes are ignored here, because events that Kafka deleted before they were counted will
        # never be counted.
        behind = lag(progress_of(snapshot), log_ends.ends)
        is_complete = snapshot.log in ("", log_ends.log) and not any(behind.values())
        begins_ms, ends_ms = parts.months.begin_ms(month), parts.months.end_ms(month)
        return used_of(accepted, limits), Present(month, begins_ms, ends_ms, now_ms, is_complete)

    def _read(self) -> Quotas:
        """Read the whole topic billing.quotas, up to its present end."""
        found = Quotas()
        with closing(LogReader(self._parts.options, self._parts.topic)) as reader:
            if PARTITION not in reader.partitions():
                raise KafkaUnavailable(f"Kafka has no topic {self._parts.topic}")
            for record in reader.read_whole(PARTITION, READ_TIMEOUT_S):
                found.add(record)
        return found

    def _write(self, own: Quotas, wanted: Plan, clients: Mapping[str, Client]) -> None:
        outputs = [*self._records(wanted), *self._events(wanted, clients)]
        if not outputs:
            return
        self._producer.commit(outputs)
        for scope, state in wanted.states.items():
            if state is None:
                own.states.pop(scope, None)
            else:
                own.states[scope] = state
        own.beat = wanted.beat or own.beat
        for event in wanted.events:
            scope = QuotaScope(event.client, event.sub_client)
            fields = {"quota": scope.described(), "month": event.month, "used": event.used}
            log.info("%d %% of a quota is used", event.threshold, extra=fields)

    def _records(self, wanted: Plan) -> Iterator[Output]:
        """Yield the records of the states, and then the record of the beat. A beat shows that all
        states before it are written."""
        topic = self._parts.topic
        for scope, state in wanted.states.items():
            value = None if state is None else encode_state(state)
            yield Output(topic, value, encode_scope(scope), partition=PARTITION)
        if wanted.beat is not None:
            yield Output(topic, encode_beat(wanted.beat), BEAT, partition=PARTITION)

    def _events(self, wanted: Plan, clients: Mapping[str, Client]) -> Iterator[Output]:
        for event in wanted.events:
            key, value, headers = encode_quota_event(event)
            written = Output(self._parts.events, value, key, headers)
            yield written
            if clients[event.client].own_events:
                yield client_copy(written, event.client)
