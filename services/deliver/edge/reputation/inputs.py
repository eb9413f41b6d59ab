"""Reads the input of a keeper: the new events on mail.events, and the providers of complaints.

The event of a complaint does not contain the provider. So the provider is found by the MX records,
as the deliver service found it when it sent the message. Owns: the position in all partitions, and
the look-ups of MX records for complaints. Does not own: the meaning of an event
(core/reputation/facts.py).

Guarantees: no record before the place of the last transaction is read again. No record after that
place is skipped, unless Kafka has deleted the record or the topic was recreated. A turn waits at
most LOOK_UP_S for the DNS. A complaint is not counted if the DNS does not answer within this time.
Bounds: one call reads at most MOST records and lasts at most LONGEST_READ_S; at most MAX_DOMAINS
answers are remembered.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from kafka.errors import KafkaError

from services.deliver.core.routing.sites import Mx
from services.deliver.core.shaping.rules import Rules
from services.deliver.edge.dns.resolver import Resolver
from shared.runtime.clock import Clock, Deadline
from shared.stream.client import ClientOptions
from shared.stream.consumer import Record
from shared.stream.log_reader import LogReader
from shared.topics.event_records import TYPE_HEADER
from shared.topics.reputation import Place

log = logging.getLogger(__name__)

MOST: Final = 20_000
POLL_RECORDS: Final = 5_000
LONGEST_READ_S: Final = 5.0
LOOK_UP_S: Final = 3.0
MAX_DOMAINS: Final = 20_000
_POLL_MS: Final = 100


class EventLog:
    """A reader of mail.events, for one thread. All methods may raise KafkaError."""

    def __init__(self, options: ClientOptions, topic: str, place: Place | None) -> None:
        """If `place` is None, the log is read from its present end."""
        self._topic = topic
        # The headers that follow TYPE_HEADER are not used (core/reputation/facts.py).
        self._reader = LogReader(
            options, topic, last_header=TYPE_HEADER, max_poll_records=POLL_RECORDS
        )
        # True if the last call of read() ended before the end of the log.
        self.is_behind = False
        try:
            self._partitions = self._find()
            self._id = self._reader.topic_id()
            self._offsets = self._begin(place)
            self._reader.read_from(self._offsets)
        except BaseException:
            self._reader.close()
            raise

    def read(self, longest_s: float = LONGEST_READ_S) -> list[Record]:
        """Return the new records that could be read within the time limit."""
        if self._find() != self._partitions or self._reader.topic_id() != self._id:
            raise KafkaError(f"{self._topic} has other partitions, or was created again")
        ends = self._reader.ends(self._partitions)
        found: list[Record] = []
        deadline = Deadline(min(longest_s, LONGEST_READ_S))
        while len(found) < MOST and not deadline.is_over() and not self._reader.has_reached(ends):
            for records in self._reader.poll(_POLL_MS).values():
                found += records
        self._offsets = {each: self._reader.position(each) for each in self._partitions}
        self.is_behind = not self._reader.has_reached(ends)
        return found

    def place(self, now_ms: int) -> Place:
        """Return the place up to which read() has returned the records."""
        offsets = {str(partition): offset for partition, offset in self._offsets.items()}
        return Place(self._id, offsets, now_ms)

    def close(self) -> None:
        """Close the connection."""
        self._reader.close()

    def _find(self) -> list[int]:
        found = self._reader.partitions()
        if not found:
            raise KafkaError(f"Kafka has no topic {self._topic}")
        return found

    def _begin(self, place: Place | None) -> dict[int, int]:
        if place is None:
            return self._reader.ends(self._partitions)
        begins, ends = self._reader.begins(self._partitions), self._reader.ends(self._partitions)
        if place.log != self._id:
            log.warning("mail.events was created again: its events are counted from the beginning")
            return begins
        known = {each: place.offsets.get(str(each), 0) for each in self._partitions}
        if any(known[each] < begins[each] for each in self._partitions):
            log.error("events were deleted from Kafka before their results were counted")
        return {each: min(max(known[each], begins[each]), ends[each]) for each in self._partitions}


class ProviderLookup:
    """Finds the provider of a recipient. Use it in one thread that runs no event loop."""

    def __init__(self, rules: Rules, resolver: Resolver, clock: Clock) -> None:
        self._rules = rules
        self._resolver = resolver
        self._clock = clock
        self._known: dict[str, str] = {}

    def begin(self) -> Deadline:
        """Return the deadline that all look-ups of one turn share."""
        return Deadline(LOOK_UP_S, self._clock)

    def of(self, recipient: str, deadline: Deadline) -> str:
        """Return the provider of this recipient, or "" if none exists or none was found in time."""
        domain = recipient.rpartition("@")[2].lower()
        found = self._known.get(domain) or self._rules.provider_of(domain, ())
        if domain in self._known or found or deadline.is_over():
            return found
        return asyncio.run(self._resolved(domain, deadline))

    async def _resolved(self, domain: str, deadline: Deadline) -> str:
        try:
            async with asyncio.timeout(deadline.left_s()):
                resolution = await self._resolver.resolve(domain)
        except TimeoutError:
            return ""
        if not isinstance(resolution, Mx):
            return ""
        if len(self._known) >= MAX_DOMAINS:
            self._known.clear()
        found = self._rules.provider_of(domain, (host.name for host in resolution.hosts))
        self._known[domain] = found
        return found
