"""Computes and judges the results of `bench backlog`, such as how often each body was written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import closing
from itertools import pairwise
from typing import Final

from msgspec import Struct

from shared.stream.client import ClientOptions
from shared.stream.consumer import Record
from shared.stream.log_reader import LogReader
from shared.topics.codec import decode_event, decode_pack
from shared.topics.names import EVENTS, deferred, outbound
from shared.topics.records import Event, EventType
from shared.topics.retry_topics import RETRY_TOPICS_S

_READ_S: Final = 300.0
# The messages for the other destination have to arrive within this many seconds.
MOST_OTHERS_S: Final = 5.0
# The validate service writes a body once. The deliver service writes the body once more if the
# message waits for its turn.
MOST_WRITTEN: Final = 2
MOST_DELIVER_MB: Final = 512.0
# The memory may not grow while the backlog waits. So the peak in the second half of `standing` may
# exceed the earlier peak by at most this amount. In the first half the memory may still grow,
# because the first deferred messages become due.
MOST_GROWTH_MB: Final = 32.0


def bodies_written(bootstrap: str) -> Counter[str]:
    """Return, by mail id, how often the body was written to the outbound and the retry topics."""
    written: Counter[str] = Counter()
    for record in _read(bootstrap, [outbound("default"), *map(deferred, RETRY_TOPICS_S)]):
        for message in decode_pack(record.value, record.headers):
            written[message.envelope.mail_id] += 1
    return written


def deferred_again(bootstrap: str, mail_ids: Container[str]) -> dict[str, int]:
    """Count these messages by the reason of their last deferral, and return the counts."""
    reasons: dict[str, str] = {}
    for record in _read(bootstrap, [EVENTS]):
        event = decode_event(record.headers, record.value)
        if not isinstance(event, Event) or event.type is not EventType.DEFERRED:
            continue
        if event.subject in mail_ids:
            reasons[event.subject] = event.data.reason
    return dict(Counter(reasons.values()).most_common(10))


def _read(bootstrap: str, topics: Sequence[str]) -> Iterator[Record]:
    """Yield all committed records of these topics."""
    for topic in topics:
        with closing(LogReader(ClientOptions(bootstrap, "bench"), topic)) as reader:
            for partition in reader.partitions():
                yield from reader.read_whole(partition, _READ_S)


class Memory(Struct, frozen=True):
    """The peak resident memory of a service in MB, for each quarter of two periods. In the period
    `coming`, the deliver service reads the backlog. The period `standing` follows."""

    coming: tuple[float, ...]
    standing: tuple[float, ...]

    @property
    def peak(self) -> float:
        """Return the highest memory of both periods."""
        return max((*self.coming, *self.standing), default=0.0)

    @property
    def growth(self) -> float:
        """Return by how much the peak in the second half of `standing` exceeds the earlier peak."""
        half = len(self.standing) // 2
        before = (*self.coming, *self.standing[:half])
        return max(0.0, max(self.standing[half:], default=0.0) - max(before, default=0.0))


class Result(Struct, frozen=True):
    """The measurements. `bodies_written` maps a number of writes to the number of such bodies."""

    messages: int
    rate_per_s: int
    others: int
    others_s: float
    # `taken_s` is the time until the deliver service had delivered or deferred all messages, and
    # `stood_s` is the time after that.
    taken_s: float
    stood_s: float
    delivered: int
    fullest_10_s: int
    bodies_written: dict[int, int]
    # The number of messages whose body was written more than twice, by the reason of the last
    # deferral.
    deferred_again: dict[str, int]
    memory: dict[str, Memory]

    def faults(self) -> list[str]:
        """Return the requirements that are not met, one line each."""
        found = []
        if self.others_s > MOST_OTHERS_S:
            found.append(f"{self.others} messages for others took {self.others_s} s")
        more = sum(count for times, count in self.bodies_written.items() if times > MOST_WRITTEN)
        if more:
            found.append(f"{more} bodies were written more than {MOST_WRITTEN} times")
        for name, memory in self.memory.items():
            if memory.growth > MOST_GROWTH_MB:
                found.append(f"{name} grew by {memory.growth:.0f} MB while the backlog stood")
        deliver = self.memory.get("deliver")
        if deliver is not None and deliver.peak > MOST_DELIVER_MB:
            found.append(f"deliver took {deliver.peak:.0f} MB")
        return found


def quarters(values: Sequence[float]) -> tuple[float, ...]:
    """Return the peak of each quarter of these values. Fewer than four values have fewer peaks."""
    parts = min(4, len(values))
    ends = [len(values) * each // parts for each in range(parts + 1)] if parts else []
    return tuple(max(values[low:high]) for low, high in pairwise(ends))


def memory_of(looks: Sequence[Mapping[str, float]], stood_from: int) -> dict[str, Memory]:
    """Return the memory of each service in `looks`. `standing` begins at index `stood_from`."""
    services = dict.fromkeys(name for look in looks for name in look)
    return {
        name: Memory(
            quarters([look[name] for look in looks[:stood_from] if name in look]),
            quarters([look[name] for look in looks[stood_from:] if name in look]),
        )
        for name in services
    }


def fullest(seen: Sequence[tuple[float, int]], window_s: float) -> int:
    """Return the largest number of messages that arrived within `window_s`."""
    most = first = 0
    for at, count in seen:
        while seen[first][0] < at - window_s:
            first += 1
        most = max(most, count - seen[first][1])
    return most
