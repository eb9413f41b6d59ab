"""Looks at the queues of accepted mail for `sluice audit`. Raises Unavailable without Kafka.

A look does not read long queues: if more than MOST_RECORDS offsets are not done, there is mail, and
the look is not certain.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import closing
from typing import Any, Final

from kafka.errors import KafkaError
from kafka.structs import TopicPartition

from cli.queue.counting import queues_of
from cli.queue.reading import QueueReading
from shared.audit.conservation import QueueLook
from shared.runtime.errors import PartUnavailable
from shared.settings.sections import KafkaSettings
from shared.stream.backlog import ASK_TIMEOUT_MS, topic_names
from shared.stream.client import ClientOptions, client_options, make_consumer

# A queue without mail has a few markers of transactions per partition that are not done.
MOST_RECORDS: Final = 5_000
READ_TIMEOUT_S: Final = 20.0


def look_at_queues(kafka: KafkaSettings) -> QueueLook:
    """Return how many messages wait now, and where the queues end."""
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
    """Return the end of each partition; with `read_committed`, where an open transaction begins."""
    reader: Any = make_consumer(options, None, isolation_level=isolation)
    with closing(reader):
        named = [
            TopicPartition(topic, number)
            for topic in topics
            for number in reader.partitions_for_topic(topic) or ()
        ]
        found = reader.end_offsets(named, timeout_ms=ASK_TIMEOUT_MS)
    return {f"{each.topic}/{each.partition}": end for each, end in found.items()}
