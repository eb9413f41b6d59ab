"""Which records of a transaction are appended together, and which the producer sends by itself."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import pytest
from kafka.structs import TopicPartition

from shared.stream import sending
from shared.stream.sending import partition_of, send_all
from shared.stream.transactions import Output

PARTITIONS = {0, 1, 2}


class Producer:
    """Knows one topic, and any other once it has sent a record of it."""

    def __init__(self) -> None:
        self.known = {"known"}
        self.sent: list[tuple[str, bytes, int | None]] = []
        self.appended: dict[TopicPartition, list[bytes]] = {}
        # For each wake of the sender: the partitions that had been added to the transaction.
        self.woken_with: list[list[int]] = []
        self.added: list[TopicPartition] = []
        self._sender = SimpleNamespace(wakeup=self._wake)
        self._transaction_manager = SimpleNamespace(
            _lock=threading.RLock(), maybe_add_partition_to_transaction=self.added.append
        )
        self._metadata = SimpleNamespace(
            partitions_for_topic=lambda topic: PARTITIONS if topic in self.known else None
        )

    def _wake(self) -> None:
        assert not self.appended
        self.woken_with.append([each.partition for each in self.added])

    def partitions_for(self, _topic: str) -> set[int]:
        return PARTITIONS

    def send(self, topic: str, value: bytes, _key: Any, _headers: Any, partition: Any) -> str:
        self.known.add(topic)
        self.sent.append((topic, value, partition))
        return f"sent {value.decode()}"


@pytest.fixture(autouse=True)
def append(monkeypatch: pytest.MonkeyPatch) -> None:
    def append_all(producer: Any, at: TopicPartition, records: list[Any]) -> list[str]:
        values = [value for value, _key, _headers in records]
        producer.appended.setdefault(at, []).extend(values)
        return [f"appended {value.decode()}" for value in values]

    monkeypatch.setattr(sending, "append_all", append_all)


def test_records_of_one_partition_go_together_in_their_order() -> None:
    producer: Any = Producer()
    futures = send_all(
        producer,
        [
            Output("known", b"a", partition=1),
            Output("known", b"b", partition=2),
            Output("known", b"c", partition=1),
        ],
    )
    assert producer.appended == {
        TopicPartition("known", 1): [b"a", b"c"],
        TopicPartition("known", 2): [b"b"],
    }
    assert futures == ["appended a", "appended b", "appended c"]


def test_all_partitions_are_added_before_the_first_record() -> None:
    producer: Any = Producer()
    send_all(producer, [Output("known", b"a", partition=each) for each in (1, 2, 1)])
    assert producer.woken_with == [[1, 2]]
    send_all(producer, [])
    send_all(producer, [Output("other", b"b", partition=0)])
    assert producer.woken_with == [[1, 2]]


def test_a_key_chooses_the_partition() -> None:
    producer: Any = Producer()
    send_all(producer, [Output("known", b"a", b"key")])
    assert producer.appended == {TopicPartition("known", partition_of("known", b"key", 3)): [b"a"]}


@pytest.mark.parametrize(
    "output",
    [
        pytest.param(Output("known", b"a"), id="neither partition nor key"),
        pytest.param(Output("known", b"a", partition=3), id="no such partition: send() says so"),
        pytest.param(Output("other", b"a", partition=0), id="a topic that is not known yet"),
        pytest.param(Output("other", b"a", b"key"), id="its key chooses from those it will have"),
    ],
)
def test_the_producer_sends_what_it_has_to_look_up(output: Output) -> None:
    producer: Any = Producer()
    assert send_all(producer, [output]) == ["sent a"]
    assert producer.appended == {}


def test_the_first_record_of_a_topic_makes_it_known() -> None:
    producer: Any = Producer()
    outputs = [Output("other", value, partition=0) for value in (b"a", b"b", b"c")]
    assert send_all(producer, outputs) == ["sent a", "appended b", "appended c"]
