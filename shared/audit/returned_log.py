"""Reads mail.returned for `sluice audit`, and finds its records that are also on mail.refused.

The account is right even while mail flows, because the offsets are read in this order:

1. First, the committed offsets of the consumer group of the validate service are read. Each record
   below these offsets has an event or a record on mail.refused. The transaction that writes this
   event or record is finished or about to finish.
2. Then, the end of mail.returned is read. Every event that was committed before this step belongs
   to a record before this end.
3. Then, the end of mail.refused is read, including open transactions. The caller reads the end of
   mail.events in the same way.

Owns: the readers. The readers read all committed records of mail.returned (which keeps records for
14 days), join no consumer group and commit nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from typing import Final

from kafka.errors import KafkaError
from msgspec import Struct

from shared.audit.event_log import EventLog
from shared.audit.returned import ReturnedBooks
from shared.runtime.errors import PartUnavailable
from shared.stream.backlog import Backlog
from shared.stream.client import ClientOptions
from shared.stream.consumer import Record
from shared.stream.kafka_python.fetching import UndecodableRecord
from shared.topics import names
from shared.topics.codec import CodecError, decode_returned
from shared.topics.records import Returned

GROUP: Final = "sluice.returns"
MAX_REFUSED: Final = 1_000_000  # further records are ignored


class ReturnedTopics(Struct, frozen=True):
    """The topics of returned mail, and the consumer group that reads returned mail."""

    returned: str = names.RETURNED
    refused: str = names.REFUSED
    group: str = GROUP


class ReturnedEnds(Struct, frozen=True):
    """The offsets, by partition of mail.returned, up to which records are counted.

    `done` has the committed offsets. `is_whole` is True if Kafka has deleted no record of the
    topic.
    """

    done: Mapping[int, int]
    end: Mapping[int, int]
    is_whole: bool


def ends_of(options: ClientOptions, topics: ReturnedTopics) -> ReturnedEnds:
    """Read the committed offsets, then the ends of the topic. Raises PartUnavailable."""
    try:
        with closing(Backlog(options, topics.group, [topics.returned])) as backlog:
            done = {each.partition: found.begin for each, found in backlog.partitions.items()}
    except KafkaError as error:
        raise PartUnavailable("Kafka", options.bootstrap, str(error)) from error
    with EventLog(options, topics.returned) as log:
        return ReturnedEnds(done, log.committed_ends(), not any(log.begins().values()))


def read_returned(
    options: ClientOptions, topics: ReturnedTopics, ends: ReturnedEnds, books: ReturnedBooks
) -> None:
    """Add every record below the ends to the books. Raises PartUnavailable."""
    refused = _refused(options, topics)
    with EventLog(options, topics.returned) as log:
        for partition, records in log.read(ends.end):
            done = ends.done.get(partition, 0)
            for record in records:
                is_refused = (partition, record.offset) in refused
                _add(record, books, is_done=record.offset < done, is_refused=is_refused)


def _add(
    record: Record | UndecodableRecord, books: ReturnedBooks, *, is_done: bool, is_refused: bool
) -> None:
    returned = _decoded(record)
    if returned is not None:
        books.add_record(returned, is_done=is_done, is_refused=is_refused)
    elif is_done and not is_refused:
        books.add_unreadable()


def _decoded(record: Record | UndecodableRecord) -> Returned | None:
    if isinstance(record, UndecodableRecord):
        return None
    try:
        return decode_returned(record.value, record.headers)
    except CodecError:
        return None


def _refused(options: ClientOptions, topics: ReturnedTopics) -> set[tuple[int, int]]:
    """Return partition and offset of each record of mail.returned that is also on mail.refused."""
    found: set[tuple[int, int]] = set()
    with EventLog(options, topics.refused) as log:
        for _, records in log.read(log.written_ends()):
            for record in records:
                place = _place(record, topics.returned)
                if place is not None and len(found) < MAX_REFUSED:
                    found.add(place)
    return found


def _place(record: Record | UndecodableRecord, topic: str) -> tuple[int, int] | None:
    """Return partition and offset of a refused record on `topic`, or None for other topics."""
    if isinstance(record, UndecodableRecord):
        return None
    headers = dict(record.headers)
    if headers.get("topic") != topic.encode():
        return None
    try:
        return int(headers["partition"]), int(headers["offset"])
    except (KeyError, ValueError):
        return None
