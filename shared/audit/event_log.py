"""Reads mail.events from its beginning up to given offsets, for commands that recount events.

Owns: the readers, which read only committed records, join no consumer group and commit nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Final, TypeVar

from kafka.errors import KafkaError, OffsetOutOfRangeError

from shared.runtime.clock import monotonic
from shared.runtime.errors import PartUnavailable
from shared.stream.client import FETCH_MIN_BYTES, ClientOptions
from shared.stream.consumer import Record
from shared.stream.log_reader import LogReader
from shared.topics.names import EVENTS

ASK_TIMEOUT_MS: Final = 10_000
POLL_MS: Final = 500
POLL_RECORDS: Final = 10_000
# An open transaction delays the reading of later records for less than this time.
STUCK_S: Final = 90.0

T = TypeVar("T")


class EventLog:
    """A reader of mail.events. Not thread-safe. All methods may raise PartUnavailable.

    If `is_strict` is True, read() raises PartUnavailable if Kafka deletes records before read() has
    reached them. If `is_strict` is False, read() continues with the first record that Kafka still
    has.
    """

    def __init__(
        self, options: ClientOptions, topic: str = EVENTS, *, is_strict: bool = False
    ) -> None:
        self._topic = topic
        self._options = options
        self._reset = "none" if is_strict else "earliest"
        self._committed = self._open(is_committed=True)
        self._written = self._open(is_committed=False)
        try:
            self._partitions = self._ask(self._committed.partitions)
            if not self._partitions:
                raise self._unavailable(f"topic {topic} does not exist")
        except PartUnavailable:
            self.close()
            raise

    def __enter__(self) -> EventLog:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def id(self) -> str:
        """Return the topic's id."""
        return self._ask(self._committed.topic_id)

    def begins(self) -> dict[int, int]:
        """Return, by partition, the first available offset."""
        return self._ask(lambda: self._committed.begins(self._partitions))

    def committed_ends(self) -> dict[int, int]:
        """Return, by partition, the last stable offset.

        No open transaction has a record below this offset.
        """
        return self._ask(lambda: self._committed.ends(self._partitions))

    def written_ends(self) -> dict[int, int]:
        """Return, by partition, the offset after the last record.

        Records of open transactions are included.
        """
        return self._ask(lambda: self._written.ends(self._partitions))

    def offsets_at(self, time_ms: int) -> dict[int, int]:
        """Return, by partition, the offset of the first record stored at or after this time.

        Partitions without such a record are left out.
        """
        return self._ask(lambda: self._committed.offsets_at(self._partitions, time_ms))

    def read(
        self, ends: Mapping[int, int], starts: Mapping[int, int] | None = None
    ) -> Iterator[tuple[int, Sequence[Record]]]:
        """Yield lists of the committed records below `ends`, in order within each partition.

        Reading begins at `starts`, or at the first record that Kafka still has, whichever is later.
        The method waits until open transactions below `ends` have ended. The method may be called
        more than once.
        """
        reader = self._committed
        begins = {
            part: max(begin, (starts or {}).get(part, 0)) for part, begin in self.begins().items()
        }
        todo = {part for part in self._partitions if begins[part] < ends.get(part, 0)}
        self._ask(lambda: reader.read_from({part: begins[part] for part in todo}))
        moved_at = monotonic()
        while todo:
            for part, records in self._ask(lambda: reader.poll(POLL_MS)).items():
                moved_at = monotonic()
                yield part, [each for each in records if each.offset < ends[part]]
            done = {part for part in todo if self._has_reached(part, ends[part])}
            if done:
                todo -= done
                reader.pause(done)
            elif monotonic() - moved_at > STUCK_S:
                raise self._unavailable(f"no records were received for {STUCK_S:g} s")

    def close(self) -> None:
        """Close the connections."""
        self._committed.close()
        self._written.close()

    def _has_reached(self, partition: int, end: int) -> bool:
        return self._ask(lambda: self._committed.has_reached({partition: end}))

    def _open(self, is_committed: bool) -> LogReader:
        return self._ask(
            lambda: LogReader(
                self._options,
                self._topic,
                is_committed=is_committed,
                ask_timeout_ms=ASK_TIMEOUT_MS,
                max_poll_records=POLL_RECORDS,
                fetch_min_bytes=FETCH_MIN_BYTES,
                auto_offset_reset=self._reset,
            )
        )

    def _ask(self, question: Callable[[], T]) -> T:
        try:
            return question()
        except OffsetOutOfRangeError as error:
            reason = f"records of {self._topic} were deleted while they were read; run it again"
            raise self._unavailable(reason) from error
        except KafkaError as error:
            raise self._unavailable(str(error)) from error

    def _unavailable(self, reason: str) -> PartUnavailable:
        return PartUnavailable("Kafka", self._options.bootstrap, reason)
