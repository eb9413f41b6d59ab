"""Counts on the topics of a stack how often each body was written, and why."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Container, Iterator, Sequence
from typing import Any

from kafka import KafkaConsumer, TopicPartition

from shared.topics.codec import decode_pack
from shared.topics.names import DELAYS_S, EVENTS, deferred, outbound


def bodies_written(bootstrap: str) -> Counter[str]:
    """How often the body of each message was written between validate and the sink."""
    written: Counter[str] = Counter()
    for record in _read(bootstrap, [outbound("default"), *map(deferred, DELAYS_S)]):
        for message in decode_pack(record.value, record.headers):
            written[message.envelope.mail_id] += 1
    return written


def deferred_again(bootstrap: str, mail_ids: Container[str]) -> dict[str, int]:
    """The reasons of the last deferral of these messages, each with their number."""
    reasons: dict[str, str] = {}
    for record in _read(bootstrap, [EVENTS]):
        headers = dict(record.headers)
        mail_id = headers.get("ce_subject", b"").decode()
        if headers.get("ce_type") == b"sluice.mail.deferred" and mail_id in mail_ids:
            reasons[mail_id] = json.loads(record.value).get("reason", "")
    return dict(Counter(reasons.values()).most_common(10))


def _read(bootstrap: str, topics: Sequence[str]) -> Iterator[Any]:
    """All records of these topics."""
    consumer: Any = KafkaConsumer(bootstrap_servers=bootstrap, isolation_level="read_committed")
    places = [
        TopicPartition(topic, number)
        for topic in topics
        for number in consumer.partitions_for_topic(topic) or ()
    ]
    consumer.assign(places)
    consumer.seek_to_beginning(*places)
    ends = consumer.end_offsets(places)
    try:
        while any(consumer.position(place) < end for place, end in ends.items()):
            for records in consumer.poll(500).values():
                yield from records
    finally:
        consumer.close()
