"""The partition that a record with a key goes to."""

from __future__ import annotations

import pytest

from shared.stream.sending import partition_of, partition_of_key
from shared.topics.names import EVENTS, RETURNED


@pytest.mark.parametrize(
    ("key", "partitions", "partition"),
    # As the Java client chooses: murmur2, its sign bit removed.
    [(b"acme", 4, 0), (b"acme", 1, 0), (b"21", 1000, 340), (b"", 10, 1)],
)
def test_a_key_has_the_partition_that_a_kafka_client_chooses(
    key: bytes, partitions: int, partition: int
) -> None:
    assert partition_of_key(key, partitions) == partition


def test_returned_mail_goes_where_the_bounce_door_writes_it_whoever_writes_it() -> None:
    for number in range(100):
        key = f"client-{number}".encode()
        assert partition_of(RETURNED, key, 12) == partition_of_key(key, 12)
    assert any(
        partition_of(EVENTS, b"%d" % n, 12) != partition_of_key(b"%d" % n, 12) for n in range(9)
    )
