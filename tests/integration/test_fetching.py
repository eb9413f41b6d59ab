"""Readers with a real broker: no batch that it accepts stops them or costs them much memory."""

from __future__ import annotations

import hashlib
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaConsumer, TopicPartition
from kafka.errors import UnsupportedCodecError

from shared.settings.sections import KafkaSettings
from shared.stream.admin import ensure_topics
from shared.stream.client import ClientOptions, make_consumer
from shared.stream.kafka_python.fetching import KEPT_BYTES, POLL_BYTES, UndecodableRecord
from shared.topics.names import TopicPlan
from tests.conftest import Parts
from tests.support.patience import PATIENCE_S
from tests.support.raw_batches import COMPRESS, RawRecord, batch_of, produce

GOOD = batch_of([RawRecord(b"good")])
MANY = [RawRecord(b"value %d" % number, [(b"n", b"%d" % number)]) for number in range(500)]
ZEROS_BYTES = 300 * 1024 * 1024
MEMORY_BYTES = 250 * 1024 * 1024


@pytest.fixture
def topic(kafka_bootstrap: str, request: pytest.FixtureRequest) -> str:
    name = f"fetching.{zlib.crc32(request.node.nodeid.encode())}.{time.time_ns()}"
    configs = {"max.message.bytes": str(8 * 1024 * 1024)}
    ensure_topics(KafkaSettings(bootstrap=kafka_bootstrap), [TopicPlan(name, 3, configs)])
    return name


def publish(bootstrap: str, topic: str, batch: bytes, partition: int = 0) -> int:
    error, offset = produce(bootstrap, topic, batch, partition)
    assert error == 0, f"the broker answers {error}"
    return offset


def open_reader(bootstrap: str, topic: str, partitions: int = 1) -> Any:
    consumer = make_consumer(ClientOptions(bootstrap, "test"), None, fetch_min_bytes=1)
    assigned = [TopicPartition(topic, number) for number in range(partitions)]
    consumer.assign(assigned)
    consumer.seek_to_beginning(*assigned)
    return consumer


def read(consumer: Any, last: int) -> list[Any]:
    """The records of partition 0 up to this offset."""
    found: list[Any] = []
    until = time.monotonic() + PATIENCE_S
    while not found or found[-1].offset < last:
        assert time.monotonic() < until, f"read {found[-1:]}, not up to {last}"
        for records in consumer.poll(timeout_ms=200).values():
            found += records
    return found


@pytest.mark.parametrize("codec", COMPRESS)
def test_every_codec_is_read(kafka_bootstrap: str, topic: str, codec: str) -> None:
    publish(kafka_bootstrap, topic, batch_of(MANY, codec))
    last = publish(kafka_bootstrap, topic, GOOD)
    consumer = open_reader(kafka_bootstrap, topic)
    found = read(consumer, last)
    consumer.close()
    assert [record.value for record in found] == [*(record.value for record in MANY), b"good"]
    assert [record.headers for record in found[:2]] == [[("n", b"0")], [("n", b"1")]]


def test_kafka_python_reads_no_snappy_by_itself(kafka_bootstrap: str, topic: str) -> None:
    """If this fails, decompress.py no longer needs to read snappy."""
    publish(kafka_bootstrap, topic, batch_of(MANY, "snappy"))
    consumer = KafkaConsumer(bootstrap_servers=kafka_bootstrap, metrics_enabled=False)
    consumer.assign([TopicPartition(topic, 0)])
    consumer.seek(TopicPartition(topic, 0), 0)
    until = time.monotonic() + PATIENCE_S
    with pytest.raises(UnsupportedCodecError):  # noqa: PT012 - the poll that finds the batch
        while time.monotonic() < until:
            consumer.poll(timeout_ms=200)
    consumer.close()


def too_large(codec: str) -> bytes:
    return batch_of([RawRecord(b"first"), RawRecord(bytes(ZEROS_BYTES))], codec)


# The undecodable batches that Kafka 4.3 accepts; it checks batches and refuses the rest. Built when
# a test needs one: they are large, and every process of a test run loads this module.
BAD: dict[str, tuple[Callable[[], bytes], str]] = {
    "offsets out of order": (
        lambda: batch_of([RawRecord(b"x", offset_delta=5), RawRecord(b"y")]),
        "offset 6 is not between 1 and 2",
    ),
    "gzip": (lambda: too_large("gzip"), "larger than"),
    "lz4": (lambda: too_large("lz4"), "larger than"),
    "zstd": (lambda: too_large("zstd"), "larger than"),
    "snappy": (
        lambda: batch_of([RawRecord(b"x"), RawRecord(bytes(64 << 20))], "snappy-raw"),
        "larger",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_decoded_is_one_record_in_its_place_and_costs_little_memory(
    kafka_bootstrap: str, topic: str, name: str
) -> None:
    build, reason = BAD[name]
    batch = build()
    publish(kafka_bootstrap, topic, GOOD)
    publish(kafka_bootstrap, topic, batch)
    last = publish(kafka_bootstrap, topic, GOOD)
    consumer = open_reader(kafka_bootstrap, topic)
    with peak_memory() as peak:
        before, bad, after = read(consumer, last)
    assert [before.value, after.value] == [b"good", b"good"]
    assert isinstance(bad, UndecodableRecord)
    assert (bad.topic, bad.partition, bad.first_offset, bad.offset) == (topic, 0, 1, 2)
    assert reason in bad.reason
    assert bad.length == len(batch)
    # The broker writes the offset and the leader epoch into the batch.
    assert bad.value[16:] == batch[16:KEPT_BYTES]
    assert len(bad.sha256) == len(hashlib.sha256().hexdigest())
    # A reader that seeks back gets the same batch again.
    consumer.seek(TopicPartition(topic, 0), bad.offset)
    assert read(consumer, last)[0] == bad
    consumer.close()
    assert max(peak) < MEMORY_BYTES


@contextmanager
def peak_memory() -> Iterator[list[int]]:
    """The peak growth of this process's memory in bytes, available afterwards."""
    Path("/proc/self/clear_refs").write_text("5")
    begin = memory("VmRSS")
    found: list[int] = []
    yield found
    found.append(memory("VmHWM") - begin)


def memory(name: str) -> int:
    status = Path("/proc/self/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith(name))
    return int(line.split()[1]) * 1024


def test_a_poll_is_bounded_in_bytes_and_nothing_is_left_out(
    kafka_bootstrap: str, topic: str
) -> None:
    records = [RawRecord(b"%d" % number + bytes(3_000_000)) for number in range(10)]
    for _ in range(4):
        last = publish(kafka_bootstrap, topic, batch_of(records, "gzip"))
    consumer = open_reader(kafka_bootstrap, topic)
    found: list[int] = []
    while len(found) < 40:
        polled = [each for part in consumer.poll(timeout_ms=200).values() for each in part]
        assert sum(len(record.value) for record in polled) < POLL_BYTES + 3_100_000
        found += [record.offset for record in polled]
    consumer.close()
    assert found == list(range(last + 10))


def test_a_flooded_partition_lets_the_others_have_their_turn(
    kafka_bootstrap: str, topic: str
) -> None:
    flood = [RawRecord(b"")] * 50_000
    for _ in range(4):
        publish(kafka_bootstrap, topic, batch_of(flood, "gzip"))
    for partition in (1, 2):
        publish(kafka_bootstrap, topic, GOOD, partition)
    consumer = open_reader(kafka_bootstrap, topic, partitions=3)
    seen: list[int] = []
    of_flood: list[int] = []
    while len(of_flood) < 200_000:
        for partition, records in consumer.poll(timeout_ms=200, max_records=500).items():
            if partition.partition:
                seen.append(partition.partition)
            else:
                of_flood += [record.offset for record in records]
        # Without taking turns they would arrive only after the fetched part of the flood.
        assert sorted(seen) == [1, 2] or len(of_flood) < 100_000
    consumer.close()
    assert of_flood == list(range(200_000))
    assert sorted(seen) == [1, 2]


def test_a_batch_that_is_damaged_on_disk_is_skipped(
    kafka_bootstrap: str, parts: Parts, topic: str
) -> None:
    publish(kafka_bootstrap, topic, batch_of([RawRecord(b"damaged"), RawRecord(b"also")]))
    last = publish(kafka_bootstrap, topic, GOOD)
    folder = Path(parts.users).parent / "kafka" / "data" / f"{topic}-0"
    segment = folder / "00000000000000000000.log"
    with segment.open("r+b") as file:
        at = segment.read_bytes().index(b"damaged")
        file.seek(at)
        file.write(b"D")
    consumer = open_reader(kafka_bootstrap, topic)
    bad, good = read(consumer, last)
    consumer.close()
    assert isinstance(bad, UndecodableRecord)
    assert (bad.first_offset, bad.offset, bad.reason) == (0, 1, "its checksum is wrong")
    assert good.value == b"good"
