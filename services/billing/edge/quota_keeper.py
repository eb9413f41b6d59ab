"""Counts the use of each quota, and publishes the changes: states, beats, events.

Every billing process has a keeper, in a thread. A turn brings the counts of accepted mail up to
date, compares them with billing.quotas (core/quotas.py) and writes states and events in one
transaction. Turns begin every `every_s`. After the first BURST_S of reads, reads may take SHARE of
the time, which is one second per minute. A turn reads nothing if it would exceed this share. After
MAX_WAIT_S without a read, the counts are read even if that exceeds the share.

All keepers share one transactional id. Opening the id ends and fences the transaction of any other
keeper. The keeper that opened it then reads billing.quotas to its end. If the commit of this keeper
succeeds, no other keeper has written after the opening. So a threshold has one event for any number
of processes. As long as the beats of another keeper arrive, a keeper does not write; it opens the
id only when the beats stop. Each turn writes a beat, even if it has counted nothing. A keeper
writes no beat while it reads the counts, so the other keepers also wait for the time that their own
last read took. A keeper that was fenced, for example after a pause, waits for the beats of the
other keeper to stop.

On failure nothing is written, and the next turn compares again. A failed read does not delay that
turn. If the beats stop, another keeper takes over. If the store hangs, a read ends after its
time-out, and closing the reader ends after a shorter time-out. The use is computed from the cells.
If the store loses cells, they are restored, and until then the published use does not fall. If
Kafka, the store or the registry is unavailable, no turn takes place, and validate continues with
the last known states.
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
from shared.runtime.threads import EnduringThread
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
# A keeper writes if the last beat is older than this many turns.
SILENT_TURNS: Final = 3.0
SHARE: Final = 1 / 60
# The seconds of reads that are allowed at first. They suffice to read some big months.
BURST_S: Final = 20.0
# The maximum age of the counts, in seconds, while reads take long.
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
    # The registered clients; None while they are not known.
    clients: Callable[[], Mapping[str, Client] | None]
    own_events: ClientEvents | None = None
    failpoints: Failpoints = Failpoints.none()
    every_s: float = 5.0
    topic: str = names.QUOTAS
    events: str = names.EVENTS
    writer: str = _WRITER


class QuotaKeeper:
    """Runs from start() until close(). `fault`: the reason why the last turn failed."""

    def __init__(self, parts: KeeperParts) -> None:
        self._parts = parts
        self._producer = TransactionalProducer(
            structs.replace(parts.options, instance=parts.writer),
            "billing",
            parts.failpoints,
            watchdog_of(parts.options),
            parts.own_events,
        )
        # The records that this keeper wrote or read; None while another keeper may write.
        self._own: Quotas | None = None
        self._accepted = AcceptedMail(parts.cells)
        self._pace = Pace(SHARE, BURST_S, MAX_WAIT_S)
        self._reading_s = 0.0  # how long the last read took
        self._silence = Silence(parts.clock, SILENT_TURNS * parts.every_s)
        self._thread = EnduringThread(
            "quotas",
            self._run,
            expected=(KafkaError, Unavailable, TransactionLost),
            failed=self._failed,
            ended=self._ended,
        )
        self.fault = ""

    def start(self) -> None:
        """Start the thread and return at once."""
        self._thread.start()

    def close(self) -> None:
        """Finish the turn and stop."""
        self._thread.close()

    def turn(self) -> None:
        """Compare and write once. May raise KafkaError, Unavailable, TransactionLost."""
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
            # Another keeper may still write: fence it, then read what it wrote.
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
            log.warning("quotas cannot be counted; it is tried again", extra={"reason": reason})
        self.fault = reason

    def _ended(self) -> None:
        # Close the producer first, because other processes may wait for it.
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
        """Return the use of each quota and the moment of the counts; None while the cells are being
        restored."""
        parts = self._parts
        now_ms = parts.clock.now_ms()
        month = parts.months.of(now_ms)
        # Ask for the ends before the cells are read. If the counts reach these ends, they include
        # every event that was committed before.
        log_ends = parts.ends.ask()
        began = parts.clock.monotonic()
        snapshot, accepted = self._accepted.read(month)
        now = parts.clock.monotonic()
        # The time of the read includes pauses of this process. The limit prevents a long pause from
        # delaying a takeover.
        self._reading_s = min(now - began, MAX_WAIT_S)
        self._pace.took(now - began, now)
        if not snapshot.whole:
            return None
        # Holes do not matter here, because events that were deleted before they were counted never
        # arrive.
        behind = lag(progress_of(snapshot), log_ends.ends)
        is_complete = snapshot.log in ("", log_ends.log) and not any(behind.values())
        begins_ms, ends_ms = parts.months.begin_ms(month), parts.months.end_ms(month)
        return used_of(accepted, limits), Present(month, begins_ms, ends_ms, now_ms, is_complete)

    def _read(self) -> Quotas:
        """Read the whole topic of quotas, up to its present end."""
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
        """Return the records of the states, and then the beat, which shows that the states are
        complete."""
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
