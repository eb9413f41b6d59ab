"""Records that were polled and cannot be handed out yet: not due, or without room. Bounded.

Reading on from an earlier offset makes the client drop what it has fetched of that partition and
fetch it again, up to PARTITION_FETCH_BYTES. On a retry topic each record has a due time of its own,
so that would be a fetch per message; here the rest of a poll is kept instead.

Owns: the records, how much of them is kept. Does not own: when a partition is read on
(partition_pauser.py). Guarantees: the records of a partition are returned once, in their order; a
partition that another member reads is forgotten with its records. A kept record is handed out to
nobody: if the process dies, its successor reads it from Kafka.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from typing import Final

from kafka.structs import TopicPartition

from shared.stream.consumer import Record

# All kept records together; a poll returns about as much at most.
MOST_BYTES: Final = 16 * 1024 * 1024


class KeptRecords:
    """The records of one consumer. Use it only in the Kafka thread."""

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self._most_bytes = most_bytes
        self._kept: dict[TopicPartition, Sequence[Record]] = {}
        self._bytes: dict[TopicPartition, int] = {}

    @property
    def partitions(self) -> Set[TopicPartition]:
        """The partitions of which records are kept."""
        return self._kept.keys()

    def keep(self, partition: TopicPartition, records: Sequence[Record]) -> bool:
        """Keep these, the next ones of their partition; return False if there is no room."""
        size = sum(len(record.value or b"") for record in records)
        if sum(self._bytes.values()) + size > self._most_bytes:
            return False
        self._kept[partition] = records
        self._bytes[partition] = size
        return True

    def take(self, partition: TopicPartition) -> Sequence[Record]:
        """Return the records of this partition, and forget them."""
        self._bytes.pop(partition, None)
        return self._kept.pop(partition, ())
