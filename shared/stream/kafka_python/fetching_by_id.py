"""Fetches by topic id, so that a position is never used in a later topic of the same name.

Written for kafka-python 3.0.12, which fetches by name (version 12 of the request). If a topic is
deleted and created again, the library continues in the new topic at its position in the old topic.
So the library silently skips the records of the new topic before that position. If a fetch contains
the old id instead of the name, the broker refuses the fetch (KIP-516, version 13).

The consumer stores the id of a topic at its first fetch from the topic, and keeps the id while a
partition of the topic is assigned. If the id of any topic in a fetch is not known, the fetch uses
names. A consumer still fetches by names if fetch_by_id() was not called for it. This module can be
removed when kafka-python fetches by ids; tests/integration/test_relay.py must then still pass.
"""

from __future__ import annotations

from typing import Any, Final
from uuid import UUID

from kafka.errors import InconsistentTopicIdError, UnknownTopicIdError

from shared.stream.kafka_python.sparing_trips import SparingFetcher
from shared.stream.kafka_python.topic_ids import NO_ID

_BY_ID: Final = 13
_REFUSED: Final = {UnknownTopicIdError.errno, InconsistentTopicIdError.errno}


class FetcherById(SparingFetcher):
    """A fetcher that can fetch by the ids of the topics that it reads."""

    def __init__(self, *args: Any, **config: Any) -> None:
        super().__init__(*args, **config)
        self.is_by_id = False
        # For each topic name, the id to which the positions belong. The I/O thread writes it.
        self.ids: dict[str, UUID] = {}
        # The topic name of each id. Unassigned topics stay, because a late answer may contain their
        # ids.
        self._topics: dict[UUID, str] = {}
        # The topics whose stored id the broker does not know.
        self.refused: set[str] = set()

    def _create_fetch_requests(self) -> Any:
        requests = super()._create_fetch_requests()
        if self.is_by_id and requests:
            for request, _ in requests.values():
                self._name_by_id(request)
            self._forget_unassigned()
        return requests

    def _forget_unassigned(self) -> None:
        assigned = {partition.topic for partition in list(self._subscriptions.assignment)}
        for topic in self.ids.keys() - assigned:
            del self.ids[topic]
            self.refused.discard(topic)

    def _name_by_id(self, request: Any) -> None:
        """Put the topic ids into a request if all ids are known."""
        named = [*request.topics, *request.forgotten_topics_data]
        for each in named:
            found = self.ids.get(each.topic) or self._manager.cluster.topic_id(each.topic)
            if found in (None, NO_ID):
                return
            each.topic_id = self.ids.setdefault(each.topic, found)
            self._topics[each.topic_id] = each.topic
        request._max_version = _BY_ID

    def _handle_fetch_response(
        self, node_id: Any, fetch_offsets: Any, send_time: float, response: Any
    ) -> None:
        if response.API_VERSION >= _BY_ID:
            for each in response.responses:
                each.topic = self._topics.get(each.topic_id, "")
                if any(partition.error_code in _REFUSED for partition in each.partitions):
                    self.refused.add(each.topic)
        super()._handle_fetch_response(node_id, fetch_offsets, send_time, response)


def fetch_by_id(consumer: Any) -> None:
    """Let a KafkaConsumer fetch by ids. Call this before its first fetch."""
    consumer._fetcher.is_by_id = True


def known_id(consumer: Any, topic: str) -> UUID | None:
    """Return the topic id to which this consumer's positions belong, or None if it is not known."""
    found: UUID | None = consumer._fetcher.ids.get(topic)
    return found


def other_topics(consumer: Any, *, are_refused: bool) -> set[str]:
    """Return the topics whose id is not the id that this consumer has read from.

    With `are_refused`, return only topics whose old id a broker has refused. Without `are_refused`,
    the result may contain a topic whose id has not changed, because a broker has outdated metadata
    that show a former id.
    """
    fetcher, cluster = consumer._fetcher, consumer._cluster
    if are_refused and not fetcher.refused:
        return set()
    return {
        topic
        for topic, known in list(fetcher.ids.items())
        if cluster.topic_id(topic) not in (None, NO_ID, known)
        and (topic in fetcher.refused or not are_refused)
    }
