"""Keeps copies of events off topics that are not there.

A client with `own_events` gets its events also on `mail.events.<client>`, in the transaction of
the record on mail.events. That topic is the client's to read, and somebody may delete it: it must
never stop the line that serves all the others.

A topic that the producer has no partitions of is created first. Where that fails, its copies are
left out for LEFT_OUT_S, and the log says so; the records on mail.events are written all the same.
A transaction lost for a topic that has gone meanwhile is made anew with a new producer, which knows
no topic yet: so the topic is created again then, and not one copy is missing. Three lost in a row,
for whatever reason, go on without copies.

Owns: which topics are left out, and till when. One for each producer; not thread-safe.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Collection
from typing import Any, Final

from kafka import KafkaProducer
from kafka.errors import KafkaError, KafkaTimeoutError, UnknownTopicOrPartitionError, for_code
from kafka.producer.sender import Sender
from kafka.producer.transaction_manager import AddPartitionsToTxnHandler

from shared.settings.sections import KafkaSettings
from shared.stream.admin import TopicError, ensure_topics
from shared.topics.names import CLIENT_EVENTS_PREFIX, client_events_plan

log = logging.getLogger(__name__)

LEFT_OUT_S: Final = 60.0
# A topic that is there is known within some 0.1 s; in a transaction it is waited for for 15 s.
METADATA_MS: Final = 2_000
# So many lost transactions are a broker's restart; more may be the topic's fault (its ACL, say).
MAX_LOST: Final = 3

_add: Final = AddPartitionsToTxnHandler.handle_response
_retry: Final = Sender._can_retry


class ClientEvents:
    """Which of the clients' own topics may be written to now."""

    def __init__(self, kafka: KafkaSettings, left_out_s: float = LEFT_OUT_S) -> None:
        _fail_where_an_own_topic_is_missing()
        self._kafka = kafka
        self._left_out_s = left_out_s
        self._left_out_until: dict[str, float] = {}
        self._lost = 0

    def missing(self, topics: Collection[str], producer: KafkaProducer) -> set[str]:
        """Those of these topics whose records are to be left out; the others are there.

        Raises KafkaError when the brokers do not answer.
        """
        own = [topic for topic in topics if topic.startswith(CLIENT_EVENTS_PREFIX)]
        return {topic for topic in own if not self._is_there(topic, producer)}

    def lost(self, topics: Collection[str], error: BaseException) -> None:
        """Take notice of a lost transaction with records on these topics."""
        own = [topic for topic in topics if topic.startswith(CLIENT_EVENTS_PREFIX)]
        self._lost = self._lost + 1 if own else 0
        if self._lost >= MAX_LOST:
            self._lost = 0
            for topic in own:
                self._leave_out(topic, f"{MAX_LOST} transactions in a row were lost: {error}")

    def committed(self) -> None:
        """Take notice of a transaction that committed."""
        self._lost = 0

    def _is_there(self, topic: str, producer: KafkaProducer) -> bool:
        if time.monotonic() < self._left_out_until.get(topic, 0.0):
            return False
        # Its metadata tells of no topic that nothing was written to yet, nor of one that is gone.
        if producer._metadata.partitions_for_topic(topic):
            return True
        client = topic.removeprefix(CLIENT_EVENTS_PREFIX)
        plan = client_events_plan(client, self._kafka.intake_partitions)
        try:
            kafka = self._kafka
            ensure_topics(kafka.bootstrap, [plan], kafka.replication, kafka.topic_configs)
        except TopicError as error:
            self._leave_out(topic, str(error))
            return False
        try:
            producer._wait_on_metadata(topic, METADATA_MS)
        except KafkaTimeoutError as error:
            self._leave_out(topic, f"it is not there though it was made: {error}")
            return False
        return True

    def _leave_out(self, topic: str, reason: str) -> None:
        self._left_out_until[topic] = time.monotonic() + self._left_out_s
        log.error("%s: no events for %g s: %s", topic, self._left_out_s, reason)


def is_lost_with_its_topic(topic: str, error: object) -> bool:
    """Whether a record failed because its topic, a client's own, was deleted in its transaction."""
    is_gone = isinstance(error, UnknownTopicOrPartitionError)
    return is_gone and topic.startswith(CLIENT_EVENTS_PREFIX)


def _fail_where_an_own_topic_is_missing() -> None:
    """Have a transaction end where it writes to such a topic that is gone; may be called again.

    kafka-python 3.0.12 asks again for ever, as it must for a topic just created; and after any
    error here a commit that has begun waits until records time out. The watchdog comes before.
    """
    AddPartitionsToTxnHandler.handle_response = _fail_or_add
    Sender._can_retry = _may_retry


def _fail_or_add(handler: Any, response: Any) -> None:
    gone = [
        topic
        for topic, partitions in response.results_by_topic_v3_and_below
        if topic.startswith(CLIENT_EVENTS_PREFIX)
        and any(for_code(code) is UnknownTopicOrPartitionError for _, code in partitions)
    ]
    if gone:
        handler.abortable_error(KafkaError(f"there is no topic {', '.join(gone)}"))
    else:
        _add(handler, response)
    manager = handler.transaction_manager
    if manager.has_abortable_error():
        for _, _, request in manager._pending_requests:  # the commit among them
            request.fail(manager.last_error)
        manager._pending_requests.clear()


def _may_retry(sender: Any, batch: Any, error: type[BaseException]) -> bool:
    """A topic deleted between the two requests: its copies are lost, the rest is committed."""
    is_gone = error is UnknownTopicOrPartitionError
    if is_gone and batch.topic_partition.topic.startswith(CLIENT_EVENTS_PREFIX):
        return False
    return bool(_retry(sender, batch, error))
