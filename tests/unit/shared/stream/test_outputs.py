"""The records that every service writes."""

from __future__ import annotations

import pytest

from shared.stream.outputs import partition_of_key


@pytest.mark.parametrize(
    ("key", "partitions", "partition"),
    # As the Java client chooses: murmur2, its sign bit removed.
    [(b"acme", 4, 0), (b"acme", 1, 0), (b"21", 1000, 340), (b"", 10, 1)],
)
def test_a_key_has_the_partition_that_a_kafka_client_chooses(
    key: bytes, partitions: int, partition: int
) -> None:
    assert partition_of_key(key, partitions) == partition
