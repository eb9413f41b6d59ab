"""Counts the mail that waits, by topic and by one more property of the messages. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Final

from msgspec import Struct

from shared.topics import names
from shared.topics.records import Envelope

# At most this many different values are counted; all further values are counted as OTHER.
MAX_VALUES: Final = 100_000
OTHER: Final = "(others)"
# This text is shown for mail without a value, such as mail without a last reply.
NOTHING: Final = "(none)"
BY: Final = ("client", "mailing", "sub-client", "domain", "lane", "topic", "reply")


class TopicRow(Struct):
    """One topic: its unread offsets, and the counts of the records that were read."""

    topic: str
    records: int  # The unread offsets of records and of a few transaction markers.
    records_read: int = 0
    messages: int = 0  # The number of messages in the records that were read.
    attempted: int = 0  # The number of messages that had an attempt before.
    oldest_ms: int = 0  # The time when the oldest message was received.
    held: int = 0  # The number of messages that wait for an operator (`sluice indoubt`).
    next_due_ms: int = 0  # The time when the first message is due, or 0 for now.


class Waiting(Struct, frozen=True):
    """One message that waits, and its place in Kafka."""

    topic: str
    partition: int
    offset: int
    envelope: Envelope


def distinct(found: Iterable[Waiting], most: int) -> list[Waiting]:
    """Return up to `most` messages, each of them once.

    A message may move to another topic while the topics are read, and so be found at two places.
    The result has the place that was read last.
    """
    messages: dict[str, Waiting] = {}
    for each in found:
        messages[each.envelope.mail_id] = each
        if len(messages) == most:
            break
    return list(messages.values())


class QueueCounts:
    """The counts of the mail that waits."""

    def __init__(self, unread: Iterable[tuple[str, int]], by: str = "client") -> None:
        """Add up the numbers of unread offsets; in `unread`, a topic may occur several times."""
        self.rows: dict[str, TopicRow] = {}
        for topic, records in unread:
            row = self.rows.setdefault(topic, TopicRow(topic, 0))
            row.records += records
        self.by: Counter[str] = Counter()
        self._by = by

    def add_record(self, topic: str, count: int = 1) -> None:
        """Increase the number of records that were read."""
        self.rows[topic].records_read += count

    def add(self, waiting: Waiting) -> None:
        """Count a message."""
        row, envelope = self.rows[waiting.topic], waiting.envelope
        row.messages += 1
        row.attempted += envelope.attempts.count > 0
        row.held += envelope.held_since_ms > 0
        received = envelope.received_at_ms
        row.oldest_ms = min(row.oldest_ms or received, received)
        due = envelope.due_at_ms
        row.next_due_ms = due if row.messages == 1 else min(row.next_due_ms, due)
        value = value_of(waiting, self._by)
        if value not in self.by and len(self.by) >= MAX_VALUES:
            value = OTHER
        self.by[value] += 1

    def top(self, limit: int) -> list[list[str]]:
        """Return the values with the most messages, and their counts, for a table."""
        return [[value or NOTHING, str(count)] for value, count in self.by.most_common(limit)]

    def total(self) -> int:
        """Return the number of counted messages."""
        return sum(row.messages for row in self.rows.values())


def value_of(waiting: Waiting, by: str) -> str:
    """Return the value under which a message is counted."""
    envelope = waiting.envelope
    match by:
        case "mailing":
            return f"{envelope.client}/{envelope.mailing_id}"
        case "sub-client":
            return f"{envelope.client}/{envelope.sub_client}"
        case "domain":
            return envelope.recipient.rpartition("@")[2].lower()
        case "lane":
            return envelope.lane
        case "topic":
            return waiting.topic
        case "reply":
            return envelope.attempts.last_reply[:100]
        case _:
            return envelope.client


def queues_of(topics: Iterable[str]) -> dict[str, list[str]]:
    """Return, by consumer group, the topics in which accepted mail waits."""
    prefixes = (names.OUTBOUND_PREFIX, names.DEFERRED_PREFIX)
    found: dict[str, list[str]] = {"sluice.validate": [], "sluice.held": [], "sluice.deliver": []}
    for topic in sorted(topics):
        if topic == names.RECEIVED:
            found["sluice.validate"].append(topic)
        elif topic == names.HELD:
            found["sluice.held"].append(topic)
        elif topic == names.HANDOVER or topic.startswith(prefixes):
            found["sluice.deliver"].append(topic)
    return found
