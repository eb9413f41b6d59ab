"""Reads the operators' reviews of bounces from mail.control, to its end and then new ones.

Owns: the reader. Raises KafkaError; NotReady if the topic is not read to its end in time.
Unreadable records are logged and left out, as are reviews beyond MAX_REVIEWS.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from typing import Any, Final

from shared.runtime.clock import Clock
from shared.runtime.deadline import Deadline
from shared.stream.client import ClientOptions
from shared.stream.kafka_python.fetching import UndecodableRecord
from shared.stream.log_reader import LogReader
from shared.stream.relay import NotReady
from shared.topics import names
from shared.topics.codec import CodecError
from shared.topics.control import PARTITION
from shared.topics.reviews import Review, decode_review, is_review

log = logging.getLogger(__name__)

POLL_MS: Final = 100
READ_S: Final = 30.0
# Each bounce is compared with all reviews.
MAX_REVIEWS: Final = 1_000
_AT_ONCE_MS: Final = 0


class ReviewLog:
    """The reviews on a topic, for one thread."""

    def __init__(self, options: ClientOptions, clock: Clock, topic: str = names.CONTROL) -> None:
        self._reader = LogReader(options, topic)
        self._clock = clock
        self._topic = topic
        self._known: dict[bytes, Review] = {}

    def known(self) -> Collection[Review]:
        """Return the reviews that were read."""
        return self._known.values()

    def read(self) -> None:
        """Read from the beginning to the end."""
        ends = self._reader.ends([PARTITION])
        self._reader.read_from(self._reader.begins([PARTITION]))
        deadline = Deadline(READ_S, self._clock)
        while not self._reader.has_reached(ends):
            if deadline.is_over():
                raise NotReady(f"{self._topic} was not read to its end in {READ_S:g} s")
            self._take(self._reader.poll(POLL_MS).get(PARTITION, ()))

    def read_on(self) -> bool:
        """Read new records without waiting; return whether there were any."""
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
                log.error("%s@%d: %s", self._topic, record.offset, error)
                continue
            if record.key in self._known or len(self._known) < MAX_REVIEWS:
                self._known[record.key] = review
            else:
                log.error("%s@%d: too many reviews", self._topic, record.offset)
