"""Counts on the topics of a stack how often each body was written, and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterator, Sequence
from contextlib import closing
from typing import Final

from shared.stream.client import ClientOptions
from shared.stream.consumer import Record
from shared.stream.log_reader import LogReader
from shared.topics.codec import decode_event, decode_pack
from shared.topics.names import EVENTS, RETRY_TOPICS_S, deferred, outbound
from shared.topics.records import Event, EventType

_READ_S: Final = 300.0


def bodies_written(bootstrap: str) -> Counter[str]:
    """How often the body of each message was written between validate and the sink."""
    written: Counter[str] = Counter()
    for record in _read(bootstrap, [outbound("default"), *map(deferred, RETRY_TOPICS_S)]):
        for message in decode_pack(record.value, record.headers):
            written[message.envelope.mail_id] += 1
    return written


def deferred_again(bootstrap: str, mail_ids: Container[str]) -> dict[str, int]:
    """The reasons of the last deferral of these messages, each with their number."""
    reasons: dict[str, str] = {}
    for record in _read(bootstrap, [EVENTS]):
        event = decode_event(record.headers, record.value)
        if not isinstance(event, Event) or event.type is not EventType.DEFERRED:
            continue
        if event.subject in mail_ids:
            reasons[event.subject] = event.data.reason
    return dict(Counter(reasons.values()).most_common(10))


def _read(bootstrap: str, topics: Sequence[str]) -> Iterator[Record]:
    """All committed records of these topics."""
    for topic in topics:
        with closing(LogReader(ClientOptions(bootstrap, "bench"), topic)) as reader:
            for partition in reader.partitions():
                yield from reader.read_whole(partition, _READ_S)
