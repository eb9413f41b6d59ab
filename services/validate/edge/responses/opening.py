"""Prepares the counting of bounces: reads the rules, and opens the topics at the place up to which
the counters count.

Owns: the state of a counting process, the reader of the operators' reviews on mail.control, the
removal of counters that were computed under other rules, and the metrics of counting. Does not own:
the loop (worker.py).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Sequence
from typing import Any, Final

from kafka.structs import TopicPartition
from msgspec import Struct

from shared.registry.lookup import Clients, require_whole
from shared.responses.counting.batch import CountingRules, rules_of
from shared.responses.counting.facts import LAST_HEADER
from shared.responses.counting.incidents import IncidentPolicy, Incidents, decode_incidents
from shared.responses.counting.merging import Source, decode_place
from shared.runtime.clock import Clock, Deadline
from shared.runtime.failpoints import Failpoints
from shared.runtime.telemetry import Counter, Counters, Gauge, Metric
from shared.store.counters import INCIDENTS_FIELD, RULES_FIELD, CounterPlace, CounterStore
from shared.stream.client import ClientOptions
from shared.stream.consumer import StreamConsumer
from shared.stream.kafka_python.fetching import UndecodableRecord
from shared.stream.log_reader import LogReader
from shared.stream.relay import NotReady
from shared.stream.source_log import SourceLog
from shared.stream.transactions import TransactionalProducer
from shared.topics import names
from shared.topics.codec import CodecError
from shared.topics.control import PARTITION, Review, decode_review, is_review

log = logging.getLogger(__name__)

RECORDS: Final = Metric("sluice_responses_records", "Records that were counted or skipped.")
ENTRIES: Final = Metric(
    "sluice_responses_entries",
    "Recipients suppressed by their bounces, complaints or unsubscriptions.",
    ("client", "reason"),
)
UNREADABLE: Final = Metric(
    "sluice_responses_unreadable", "Events that could not be read and are not counted."
)
RESTARTS: Final = Metric(
    "sluice_responses_restarts",
    "Times the counters were read again from the store: after a change of the counting process, a"
    " lost transaction or an emptied Redis.",
)
HELD: Final = Metric(
    "sluice_responses_held",
    "Hard bounces that are not counted because of an incident at their provider.",
    ("provider", "status"),
)
INCIDENTS: Final = Metric(
    "sluice_responses_incidents",
    "Open incidents at providers: spikes of one hard status whose bounces are held. Only the "
    "process that counts bounces reports this number.",
)
LAG: Final = Metric("sluice_responses_lag", "Records not yet counted.")

POLL_MS: Final = 100
READ_S: Final = 30.0
# The limit is needed because each bounce is compared with all reviews.
MAX_REVIEWS: Final = 1_000
_AT_ONCE_MS: Final = 0


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
    policy: IncidentPolicy = IncidentPolicy()
    control: str = names.CONTROL
    events: str = names.EVENTS
    suppressions: str = names.SUPPRESSIONS


class Counting(Struct):
    """The state of the process that counts."""

    log: SourceLog
    reviews: ReviewLog
    rules: CountingRules
    place: CounterPlace
    offsets: dict[Source, int]  # the next record to be counted
    done: dict[Source, int]  # the committed offsets
    incidents: Incidents

    def close(self) -> None:
        self.log.close()
        self.reviews.close()


class ResponseMetrics(Struct, frozen=True):
    """The metrics of the counting of bounces."""

    records: Counter
    entries: Counter
    unreadable: Counter
    restarts: Counter
    held: Counter
    incidents: Gauge
    lag: Gauge


class ReviewLog:
    """Reads from a topic first all existing reviews, then new reviews. Not thread-safe.

    Raises KafkaError. Unreadable records, and reviews beyond MAX_REVIEWS, are logged and left out.
    """

    def __init__(self, options: ClientOptions, clock: Clock, topic: str = names.CONTROL) -> None:
        self._reader = LogReader(options, topic)
        self._clock = clock
        self._topic = topic
        self._known: dict[bytes, Review] = {}

    def known(self) -> Collection[Review]:
        """Return the reviews that were read."""
        return self._known.values()

    def read(self) -> None:
        """Read from the beginning to the end. Raises NotReady if the read takes longer than
        READ_S."""
        ends = self._reader.ends([PARTITION])
        self._reader.read_from(self._reader.begins([PARTITION]))
        deadline = Deadline(READ_S, self._clock)
        while not self._reader.has_reached(ends):
            if deadline.is_over():
                raise NotReady(f"{self._topic} was not read to its end in {READ_S:g} s")
            self._take(self._reader.poll(POLL_MS).get(PARTITION, ()))

    def read_on(self) -> bool:
        """Read new records without waiting; return True if there were new records."""
        found = self._reader.poll(_AT_ONCE_MS).get(PARTITION, ())
        self._take(found)
        return bool(found)

    def close(self) -> None:
        """Close the connection."""
        self._reader.close()

    def _take(self, records: Sequence[Any]) -> None:
        for record in records:
            if isinstance(record, UndecodableRecord) or not is_review(record.key):
                continue
            if not record.value:
                self._known.pop(record.key, None)
                continue
            try:
                review = decode_review(record.key, record.value)
            except CodecError as error:
                log.error("%s@%d: the review cannot be read: %s", self._topic, record.offset, error)
                continue
            if record.key in self._known or len(self._known) < MAX_REVIEWS:
                self._known[record.key] = review
            else:
                log.error(
                    "%s@%d: the review is ignored, because there are too many reviews",
                    self._topic,
                    record.offset,
                )


def open_counting(parts: WorkerParts, consumer: StreamConsumer) -> Counting:
    """Open the topics at the place up to which the counters count. Raises NotReady, KafkaError."""
    require_whole(parts.clients)
    parts.producer.open()  # an open transaction may hide committed offsets
    topics = (parts.events, parts.suppressions)
    opened = SourceLog(parts.options, topics, parts.clock, last_header=LAST_HEADER)
    reviews: ReviewLog | None = None
    try:
        reviews = ReviewLog(parts.options, parts.clock, parts.control)
        reviews.read()
        rules = rules_of(parts.policy, reviews.known())
        log_id = opened.log_id()
        found, incidents = _stored(parts.store, log_id, rules)
        counted = decode_place(found.place)
        begins = opened.begins()
        if any(begins[each] > counted.get(each, 0) for each in opened.sources):
            log.error("events were deleted from Kafka before their bounces were counted")
        offsets = {each: max(counted.get(each, 0), begins[each]) for each in opened.sources}
        done = {each: _committed(consumer, each) for each in opened.sources}
        opened.read_from(offsets)
    except BaseException:
        opened.close()
        if reviews is not None:
            reviews.close()
        raise
    place = CounterPlace(log_id, found.place)
    return Counting(opened, reviews, rules, place, offsets, done, incidents)


def register_metrics(counters: Counters) -> ResponseMetrics:
    """Declare the metrics."""
    return ResponseMetrics(
        counters.counter(RECORDS),
        counters.counter(ENTRIES),
        counters.counter(UNREADABLE),
        counters.counter(RESTARTS),
        counters.counter(HELD),
        counters.gauge(INCIDENTS),
        counters.gauge(LAG),
    )


def _stored(
    store: CounterStore, log_id: str, rules: CountingRules
) -> tuple[CounterPlace, Incidents]:
    """Return the place up to which the counters count, and the incidents that are open at that
    place.

    Counters that were computed under other rules are dropped. Raises NotReady if the counters
    belong to other topics.
    """
    found, (digest, known) = store.read([RULES_FIELD, INCIDENTS_FIELD])
    if found.log not in ("", log_id):
        raise NotReady(_other_log(found.log, log_id))
    if found.place and digest != rules.digest():
        log.warning("the rules of counting have changed: everything is counted again")
        # If this process is paused here, it may later drop the counters of its successor. The
        # successor notices the loss and counts again.
        store.drop()
        return CounterPlace("", ""), decode_incidents(b"")
    return found, decode_incidents(known)


def _committed(consumer: StreamConsumer, source: Source) -> int:
    found: Any = consumer.committed(TopicPartition(*source))
    return max(found.offset, 0) if found is not None else 0


def _other_log(known: str, found: str) -> str:
    return (
        f"mail.events or mail.suppressions was created again (ids {found}, the counters are of"
        f" {known}): `sluice responses rebuild` drops the counters and counts the present topics"
    )
