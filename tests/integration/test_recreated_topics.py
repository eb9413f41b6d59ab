"""Topics that are deleted and created again, and what is not taken for that."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest
from kafka.errors import KafkaError

from services.billing.edge.feed import EventFeed
from shared.stream.client import ClientOptions
from shared.stream.log_reader import LogReader
from shared.stream.transactions import Output
from tests.support.stream_topics import create_again, eventually, publish

LOOKING_S = 0.5


def ids_seen(reader: LogReader) -> set[str]:
    """The ids that a reader reports while the broker's answers come every millisecond."""
    found, until = set[str](), time.monotonic() + LOOKING_S
    while time.monotonic() < until:
        found.add(reader.topic_id())
    return found


def test_a_reader_knows_its_topic_although_answers_of_the_broker_do_not_name_it(
    kafka_bootstrap: str, topics: tuple[str, str]
) -> None:
    # A consumer without partitions asks about no topic, and kafka-python forgets what it knew.
    options = ClientOptions(kafka_bootstrap, "ids")
    with closing(LogReader(options, topics[0], metadata_max_age_ms=1)) as reader:
        assert reader.partitions() == [0, 1, 2, 3]
        first = reader.topic_id()
        assert ids_seen(reader) == {first}
        reader.read_from(dict.fromkeys(range(4), 0))
        assert ids_seen(reader) == {first}
        assert first


def values_of_reader(bootstrap: str, topic: str) -> Iterator[bytes]:
    """What a reader without a group reads from the beginning on; b"" while there is nothing."""
    with closing(LogReader(ClientOptions(bootstrap, "reader"), topic)) as reader:
        reader.read_from(dict.fromkeys(reader.partitions(), 0))
        while True:
            yield b""
            for records in reader.poll(100).values():
                yield from (record.value or b"" for record in records)


def values_of_feed(bootstrap: str, topic: str) -> Iterator[bytes]:
    """What billing's member of a group reads from the beginning on."""
    feed = EventFeed(ClientOptions(bootstrap, "feed"), f"g.{topic}", 1_000, topic)
    with closing(feed):
        while True:
            yield b""
            for run in feed.poll(100):
                yield from (record.value or b"" for record in run.records)
            for partition in list(feed.unplaced()):
                feed.place(partition, 0)


@pytest.mark.parametrize("values", [values_of_reader, values_of_feed])
def test_a_reader_of_another_kind_returns_nothing_of_the_new_topic_at_its_old_position(
    kafka_bootstrap: str, topics: tuple[str, str], values: Callable[[str, str], Iterator[bytes]]
) -> None:
    topic = topics[0]
    publish(kafka_bootstrap, topic, [Output(topic, b"old")] * 40)
    found, reading = list[bytes](), values(kafka_bootstrap, topic)

    def has_read_the_old_topic() -> bool:
        found.append(next(reading))
        return found.count(b"old") == 40

    eventually(has_read_the_old_topic)
    create_again(kafka_bootstrap, topic, 4)
    publish(kafka_bootstrap, topic, [Output(topic, b"new")] * 200)
    with pytest.raises(KafkaError, match="created again"):
        found.extend(reading)
    assert b"new" not in found
