"""Stops a reader when a topic that it reads was deleted and created again.

The positions and committed offsets of a topic belong to the topic's id. A reader must not continue
at a position of the old topic, so a new reader replaces the old reader. The broker deletes the
committed offsets together with the topic, but a late commit may still have set an offset for the
new topic. So the member sets the offsets of its partitions to 0 before it raises the error. Then
the next reader (another member, or this process as a new member) reads the new topic from the
beginning.

Each record of the new topic is read once, unless this process ends after a late commit and before
it sets the offsets to 0 (docs/decisions/0260-recreated-topics.md).
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from typing import Any, Final

from kafka.errors import KafkaError
from kafka.structs import OffsetAndMetadata

from shared.stream.kafka_python.fetching_by_id import other_topics

log = logging.getLogger(__name__)

_COMMIT_TIMEOUT_MS: Final = 5_000


class TopicRecreated(KafkaError):  # type: ignore[misc]
    """A topic was deleted and created again while it was read. The consumer must be closed."""


def require_same_topics(consumer: Any) -> None:
    """Raise TopicRecreated if a topic was recreated, and set its committed offsets to 0."""
    topics = other_topics(consumer, are_refused=True)
    if not topics:
        return
    names = " ".join(sorted(topics))
    log.error("topics were deleted and created again, reading from the beginning: %s", names)
    offsets = {
        partition: OffsetAndMetadata(0, "", -1)
        for partition in consumer.assignment()
        if partition.topic in topics
    }
    try:
        consumer.commit(offsets, timeout_ms=_COMMIT_TIMEOUT_MS)
    except KafkaError as error:
        log.warning("the offsets of %s could not be set to 0: %s", names, error)
    _refuse(topics)


def require_same_for_reading(consumer: Any) -> None:
    """Raise TopicRecreated if a topic was recreated. Use this in readers that never commit."""
    _refuse(other_topics(consumer, are_refused=True))


def require_same_for_commit(consumer: Any) -> None:
    """Raise TopicRecreated if the offsets to commit may belong to the old topic."""
    _refuse(other_topics(consumer, are_refused=False))


def _refuse(topics: Collection[str]) -> None:
    if topics:
        raise TopicRecreated(f"created again: {' '.join(sorted(topics))}")
