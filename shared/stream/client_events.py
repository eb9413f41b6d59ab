"""Omits copies of events for client topics that do not exist.

If a client has `own_events`, its events are also written to `mail.events.<client>`, in the same
transaction as the record on mail.events. Somebody may delete the topic mail.events.<client>. A
missing topic must never stop the pipeline, because the pipeline also serves all other clients.

If the producer knows no partitions of a topic, the topic is created first. If the creation fails,
an error is logged, and the copies for this topic are omitted for LEFT_OUT_S. The records on
mail.events are still written. If a transaction is lost because a topic was deleted during the
transaction, the transaction is repeated with a new producer. The new producer knows no topics yet,
so the topic is created again, and no copy is missing. After three lost transactions in a row,
copies are omitted. Losses that have no relation to topics are not counted. For example, if a paused
process loses its membership or is fenced as a producer, another process writes the lost records
again.

This module owns the list of omitted topics, and the time until which each topic is omitted. Each
producer needs its own ClientEvents, which is not thread-safe.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from typing import Final

from kafka import KafkaProducer
from kafka.errors import (
    CommitFailedError,
    FencedInstanceIdError,
    IllegalGenerationError,
    InvalidProducerEpochError,
    KafkaTimeoutError,
    ProducerFencedError,
    RebalanceInProgressError,
    UnknownMemberIdError,
    UnknownTopicOrPartitionError,
)

from shared.runtime.clock import monotonic
from shared.settings.sections import KafkaSettings
from shared.stream.admin import TopicError, ensure_topics
from shared.stream.client import ClientOptions, client_options
from shared.stream.kafka_python.missing_topics import fail_where_a_topic_is_missing
from shared.stream.kafka_python.producing import knows, wait_for_topic
from shared.topics.names import CLIENT_EVENTS_PREFIX, client_events_plan

log = logging.getLogger(__name__)

LEFT_OUT_S: Final = 60.0
# The metadata of an existing topic arrive within about 0.1 s. Without this limit, a transaction
# would wait 15 s for a missing topic.
METADATA_MS: Final = 2_000
# A broker restart loses up to this many transactions. The cause of further losses may be the topic,
# for example its ACL.
MAX_LOST: Final = 3
# These errors mean that the process lost its membership or was fenced as a producer.
_NOT_OF_TOPICS: Final = (
    CommitFailedError,
    UnknownMemberIdError,
    IllegalGenerationError,
    RebalanceInProgressError,
    FencedInstanceIdError,
    ProducerFencedError,
    InvalidProducerEpochError,
)


class ClientEvents:
    """Decides to which client topics records may be written at present."""

    def __init__(
        self,
        kafka: KafkaSettings,
        options: ClientOptions | None = None,
        left_out_s: float = LEFT_OUT_S,
    ) -> None:
        fail_where_a_topic_is_missing(CLIENT_EVENTS_PREFIX)
        self._kafka = kafka
        self._options = options or client_options(kafka, "client-events")
        self._left_out_s = left_out_s
        self._left_out_until: dict[str, float] = {}
        self._lost = 0

    def missing(self, topics: Collection[str], producer: KafkaProducer) -> set[str]:
        """Return the topics whose records must be omitted. All other topics exist.

        Raises KafkaError when the brokers do not answer.
        """
        own = [topic for topic in topics if topic.startswith(CLIENT_EVENTS_PREFIX)]
        return {topic for topic in own if not self._is_there(topic, producer)}

    def lost(self, topics: Collection[str], error: BaseException) -> None:
        """Record a lost transaction that had records on these topics."""
        if isinstance(error, _NOT_OF_TOPICS):
            return
        own = [topic for topic in topics if topic.startswith(CLIENT_EVENTS_PREFIX)]
        self._lost = self._lost + 1 if own else 0
        if self._lost >= MAX_LOST:
            self._lost = 0
            for topic in own:
                self._leave_out(topic, f"{MAX_LOST} transactions in a row were lost: {error}")

    def committed(self) -> None:
        """Record a committed transaction."""
        self._lost = 0

    def _is_there(self, topic: str, producer: KafkaProducer) -> bool:
        if monotonic() < self._left_out_until.get(topic, 0.0):
            return False
        if knows(producer, topic):
            return True
        client = topic.removeprefix(CLIENT_EVENTS_PREFIX)
        plan = client_events_plan(client, self._kafka.intake_partitions)
        try:
            ensure_topics(self._kafka, [plan], self._options)
        except TopicError as error:
            self._leave_out(topic, str(error))
            return False
        try:
            wait_for_topic(producer, topic, METADATA_MS)
        except KafkaTimeoutError as error:
            self._leave_out(topic, f"it was created but does not appear in the metadata: {error}")
            return False
        return True

    def _leave_out(self, topic: str, reason: str) -> None:
        self._left_out_until[topic] = monotonic() + self._left_out_s
        log.error("%s: events are omitted for %g s: %s", topic, self._left_out_s, reason)


def is_lost_with_its_topic(topic: str, error: object) -> bool:
    """Return True if a record failed because its client topic was deleted."""
    is_gone = isinstance(error, UnknownTopicOrPartitionError)
    return is_gone and topic.startswith(CLIENT_EVENTS_PREFIX)
