"""Reads the waiting mail from Kafka, for `sluice queue` and `sluice audit`.

`sluice audit` reads the queues only to learn whether any mail waits. It does not read long queues.
If more than MOST_RECORDS offsets are unread, some mail waits, but the number of messages is
unknown.

Raises Unavailable if Kafka does not answer.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing
from typing import Any, Final

from kafka.errors import KafkaError

from cli.queue.counting import QueueCounts, Waiting, distinct, queues_of
from shared.audit.conservation import QueueLook
from shared.events.log import Progress
from shared.runtime.clock import Deadline
from shared.runtime.errors import PartUnavailable
from shared.settings.sections import KafkaSettings
from shared.stream.backlog import ASK_TIMEOUT_MS, Backlog, partitions_of, topic_names
from shared.stream.client import ClientOptions, client_options, make_consumer
from shared.topics.codec import CodecError, decode_pack

# A queue without mail may still have a few unread offsets per partition, which are markers of
# transactions.
MOST_RECORDS: Final = 5_000
READ_TIMEOUT_S: Final = 20.0


class QueueReading:
    """Reads all queues once. `is_complete` is False if the timeout ended the reading early."""

    def __init__(self, kafka: KafkaSettings, timeout_s: float, progress: Progress) -> None:
        self._kafka = kafka
        self._timeout_s = timeout_s
        self._progress = progress
        self.is_complete = True

    def counts(self, by: str, most: int | None = None) -> QueueCounts:
        """Count all messages that wait.

        If more than `most` offsets are unread, nothing is read and `is_complete` becomes False.
        """
        try:
            return self._counts(by, most)
        except KafkaError as error:
            raise self._unavailable(error) from error

    def find(self, mail_id: str) -> Waiting | None:
        """Return the message with this mail id, or None if it is in no queue."""
        try:
            with ExitStack() as stack:
                found = (each for each, _ in self._waiting(self._open(stack)))
                return next((each for each in found if each.envelope.mail_id == mail_id), None)
        except KafkaError as error:
            raise self._unavailable(error) from error

    def held(self, most: int) -> list[Waiting]:
        """Return the messages that wait for an operator; `most` limits their number."""
        try:
            with ExitStack() as stack:
                found = (each for each, _ in self._waiting(self._open(stack)))
                return distinct((each for each in found if each.envelope.held_since_ms), most)
        except KafkaError as error:
            raise self._unavailable(error) from error

    def _counts(self, by: str, most: int | None) -> QueueCounts:
        with ExitStack() as stack:
            backlogs = self._open(stack)
            unread = [
                (partition.topic, unread.records)
                for backlog in backlogs
                for partition, unread in backlog.partitions.items()
            ]
            counts = QueueCounts(unread, by)
            if most is not None and sum(records for _, records in unread) > most:
                self.is_complete = False
                return counts
            for waiting, is_first in self._waiting(backlogs):
                counts.add_record(waiting.topic, is_first)
                counts.add(waiting)
        return counts

    def _open(self, stack: ExitStack) -> list[Backlog]:
        options = client_options(self._kafka, f"queue-{os.getpid()}")
        groups = queues_of(topic_names(options))
        return [
            stack.enter_context(closing(Backlog(options, group, topics)))
            for group, topics in groups.items()
            if topics
        ]

    def _waiting(self, backlogs: list[Backlog]) -> Iterator[tuple[Waiting, bool]]:
        """Yield each message, and True if the message is the first waiting message of its
        record."""
        deadline = Deadline(self._timeout_s)
        total = sum(each.records for backlog in backlogs for each in backlog.partitions.values())
        done = 0
        for backlog in backlogs:
            for partition, records in backlog.records(deadline):
                unread = backlog.partitions[partition]
                for record in records:
                    done += 1
                    try:
                        messages = decode_pack(record.value, record.headers)
                    except CodecError:
                        continue  # The consuming service writes such a record to mail.refused.
                    is_first = True
                    for index, message in enumerate(messages):
                        if not unread.is_settled(record.offset, index):
                            place = (partition.topic, partition.partition, record.offset)
                            yield Waiting(*place, message.envelope), is_first
                            is_first = False
                self._progress(done, total)
            self.is_complete = self.is_complete and backlog.is_complete

    def _unavailable(self, error: KafkaError) -> PartUnavailable:
        return PartUnavailable("Kafka", self._kafka.bootstrap, str(error))


def look_at_queues(kafka: KafkaSettings) -> QueueLook:
    """Return the number of messages that wait now, and the end offsets of the queues."""
    options = client_options(kafka, f"audit-{os.getpid()}")
    try:
        topics = [each for found in queues_of(topic_names(options)).values() for each in found]
        written = _ends(options, topics, "read_uncommitted")
        reading = QueueReading(kafka, READ_TIMEOUT_S, lambda _done, _total: None)
        counts = reading.counts("client", MOST_RECORDS)
        committed = _ends(options, topics, "read_committed")
    except KafkaError as error:
        raise PartUnavailable("Kafka", kafka.bootstrap, str(error)) from error
    held = sum(row.held for row in counts.rows.values())
    is_certain = reading.is_complete and written == committed
    return QueueLook(written, counts.total() - held, is_certain)


def _ends(options: ClientOptions, topics: Iterable[str], isolation: str) -> dict[str, int]:
    """Return each partition's end; for `read_committed`, the first open transaction is the end."""
    reader: Any = make_consumer(options, None, isolation_level=isolation)
    with closing(reader):
        found = reader.end_offsets(partitions_of(reader, topics), timeout_ms=ASK_TIMEOUT_MS)
    return {f"{each.topic}/{each.partition}": end for each, end in found.items()}
