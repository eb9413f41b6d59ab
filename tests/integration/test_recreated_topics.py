"""Topics that are deleted and created again, and what is not taken for that."""

from __future__ import annotations

import time

from shared.stream.client import ClientOptions
from shared.stream.log_reader import LogReader

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
    reader = LogReader(ClientOptions(kafka_bootstrap, "ids"), topics[0], metadata_max_age_ms=1)
    try:
        assert reader.partitions() == [0, 1, 2, 3]
        first = reader.topic_id()
        assert ids_seen(reader) == {first}
        reader.read_from(dict.fromkeys(range(4), 0))
        assert ids_seen(reader) == {first}
        assert first
    finally:
        reader.close()
