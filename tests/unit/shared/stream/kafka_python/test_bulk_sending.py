"""Records appended in bulk: the batches are those of the library, and each says what became of it.

The accumulator is the library's own; nothing is sent.
"""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kafka import KafkaProducer
from kafka.errors import IllegalStateError, KafkaError, MessageSizeTooLargeError
from kafka.producer.record_accumulator import RecordAccumulator
from kafka.record.util import encode_varint
from kafka.structs import TopicPartition

from shared.stream.kafka_python import bulk_sending
from shared.stream.kafka_python.bulk_sending import (
    Record,
    SentRecord,
    add_partitions,
    append_all,
    varint,
)

AT = TopicPartition("t", 0)
NOW_MS = 1_700_000_000_000
BATCH_BYTES = 500
MAX_REQUEST_BYTES = 2_000


class Producer:
    """What append_all() uses of a producer, with an accumulator that nothing empties."""

    def __init__(self) -> None:
        self.config = {"max_request_size": MAX_REQUEST_BYTES}
        self.added: list[TopicPartition] = []
        self.woken = 0
        self._accumulator = RecordAccumulator(batch_size=BATCH_BYTES, message_version=2)
        self._transaction_manager = SimpleNamespace(
            _lock=threading.RLock(), maybe_add_partition_to_transaction=self.added.append
        )
        self._sender = SimpleNamespace(wakeup=self._wake)

    _ensure_valid_record_size = KafkaProducer._ensure_valid_record_size

    def _wake(self) -> None:
        self.woken += 1

    @property
    def batches(self) -> list[Any]:
        return list(self._accumulator._batches[AT])

    def append(self, records: list[Record]) -> list[SentRecord]:
        producer: Any = self
        return append_all(producer, AT, records)

    def octets(self) -> list[bytes]:
        for batch in self.batches:
            batch.records.close()
        return [bytes(batch.records.buffer()) for batch in self.batches]


@pytest.fixture(autouse=True)
def fixed_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk_sending, "now_ms", lambda: NOW_MS)


octets = st.one_of(st.binary(max_size=20), st.binary(min_size=60, max_size=140))
headers = st.lists(st.tuples(st.sampled_from(["m", "ce_id", "größe", ""]), octets), max_size=3)
some_records = st.lists(st.tuples(st.none() | octets, st.none() | octets, headers), max_size=20)


@given(some_records)
def test_the_batches_are_those_of_the_library(records: list[Record]) -> None:
    bulk, library = Producer(), Producer()
    bulk.append(records)
    for value, key, named in records:
        library._accumulator.append(AT, NOW_MS, key, value, list(named))
    assert [batch.record_count for batch in bulk.batches] == [
        batch.record_count for batch in library.batches
    ]
    assert bulk.octets() == library.octets()


@pytest.mark.parametrize(
    "number",
    [0, 1, 63, 64, 8_191, 8_192, bulk_sending._TABLE_SIZE, 2**27, 2**31, -1, -1_000, -(2**40)],
)
def test_numbers_are_encoded_as_the_library_does(number: int) -> None:
    expected = bytearray()
    encode_varint(number, expected.append)
    assert varint(number) == expected


def test_a_clock_that_goes_back_is_written_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    bulk, library = Producer(), Producer()
    for at_ms in (NOW_MS, NOW_MS - 5_000, NOW_MS + 70_000):
        monkeypatch.setattr(bulk_sending, "now_ms", lambda at_ms=at_ms: at_ms)
        bulk.append([(b"v", b"k", ())])
        library._accumulator.append(AT, at_ms, b"k", b"v", [])
    assert bulk.octets() == library.octets()


def test_a_record_beside_a_closed_batch_begins_another() -> None:
    producer = Producer()
    producer.append([(b"first", None, ())])
    producer.batches[0].records.close()  # as one that is sent again
    producer.append([(b"second", None, ())])
    assert [batch.record_count for batch in producer.batches] == [1, 1]


def test_the_sender_is_woken_once_for_all_partitions_of_a_transaction() -> None:
    producer: Any = Producer()
    others = [TopicPartition("t", number) for number in (1, 2)]
    add_partitions(producer, [AT, *others])
    producer.append([(b"first", None, ()), (b"second", None, ())])
    producer.append([(b"x" * BATCH_BYTES, None, ())])
    assert (producer.woken, producer.added) == (1, [AT, *others])


def test_a_record_larger_than_a_batch_has_its_own() -> None:
    producer = Producer()
    producer.append([(b"first", None, ()), (b"x" * BATCH_BYTES, None, ()), (b"last", None, ())])
    assert [batch.record_count for batch in producer.batches] == [1, 1, 1]


def test_a_record_larger_than_a_request_is_refused_and_not_appended() -> None:
    producer = Producer()
    with pytest.raises(MessageSizeTooLargeError):
        producer.append([(b"x" * MAX_REQUEST_BYTES, None, ())])
    assert producer.batches == []
    assert not producer._accumulator.has_incomplete


def test_a_closed_producer_takes_nothing() -> None:
    producer = Producer()
    producer._accumulator.close()
    with pytest.raises(IllegalStateError):
        producer.append([(b"v", None, ())])
    assert producer._accumulator._appends_in_progress.get() == 0


def test_each_record_knows_its_offset() -> None:
    producer = Producer()
    sent = producer.append([(b"first", None, ()), (b"second", None, ())])
    assert [each.offset for each in sent] == [-1, -1]
    producer.batches[0].complete(40, NOW_MS)
    assert [(each.offset, each.failed()) for each in sent] == [(40, False), (41, False)]


def test_a_refused_record_says_why_and_its_neighbour_does_not() -> None:
    producer = Producer()
    sent = producer.append([(b"first", None, ()), (b"second", None, ())])
    reasons = {1: KafkaError("refused")}
    producer.batches[0].complete_exceptionally(KafkaError("a part is refused"), reasons.get)
    assert [each.exception for each in sent] == [None, reasons[1]]


def test_the_records_of_an_aborted_batch_have_failed() -> None:
    producer = Producer()
    sent = producer.append([(b"first", None, ()), (b"second", None, ())])
    aborted = KafkaError("aborted")
    producer.batches[0].abort(aborted)
    assert [each.exception for each in sent] == [aborted, aborted]


def test_records_follow_their_batch_when_it_is_split() -> None:
    producer = Producer()
    sent = producer.append([(bytes([number]), None, ()) for number in range(5)])
    queue = producer._accumulator._batches[AT]
    whole = queue.popleft()
    whole.records.close()
    producer._accumulator.split_and_reenqueue(whole)
    assert whole.produce_future.wait(0), "a flush() would wait for the batch that was split"
    first, second = producer.batches
    first.complete(100, NOW_MS)
    assert [each.offset for each in sent] == [100, 101, 102, -1, -1]
    refused = KafkaError("still too large")
    second.complete_exceptionally(refused, lambda _index: refused)
    assert [each.failed() for each in sent] == [False, False, False, True, True]
