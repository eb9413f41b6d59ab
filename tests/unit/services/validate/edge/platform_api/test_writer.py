"""What waits is written together; nobody hears `written` before Kafka has it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from kafka.errors import KafkaError, KafkaTimeoutError
from msgspec import Struct

from services.validate.core.platform_api.requests import Busy
from services.validate.edge.platform_api import writer as writing
from services.validate.edge.platform_api.request import Workers
from services.validate.edge.platform_api.writer import KafkaWriter, NotWritten
from shared.runtime.clock import Clock, FakeClock
from shared.runtime.failpoints import API_NAMES, Failpoints
from shared.stream.transactions import Output


class Meta(Struct):
    offset: int


class Future:
    def __init__(self, offset: int, error: Exception | None) -> None:
        self._offset, self._error = offset, error

    def get(self, timeout: float) -> Meta:
        if self._error is not None:
            raise self._error
        return Meta(self._offset)


class Producer:
    """Kafka, which takes records unless `error` is set."""

    def __init__(self, error: Exception | None = None) -> None:
        self.sent: list[tuple[str, bytes, int | None]] = []
        self.error = error
        self.is_closed = False

    def partitions_for(self, topic: str) -> set[int]:
        return self._wait_on_metadata(topic, 4_000)

    def _wait_on_metadata(self, topic: str, timeout_ms: float) -> set[int]:
        return set(range(8))

    def send(self, topic: str, value: bytes, key: Any, headers: Any, partition: Any) -> Future:
        self.sent.append((topic, value, partition))
        return Future(len(self.sent) - 1, self.error)

    def close(self, timeout: float) -> None:
        self.is_closed = True


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for each answer for longer than a busy machine needs."""
    monkeypatch.setattr(writing, "ANSWER_S", 60.0)


@contextmanager
def running(
    *producers: Producer | Exception, clock: Clock | None = None, **more: Any
) -> Iterator[KafkaWriter]:
    left = list(producers)

    def make() -> Any:
        found = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(found, Exception):
            raise found
        return found

    # Its time stands still, so that no request is over because the machine is busy.
    found = KafkaWriter(make, clock or FakeClock(), **more)
    found.start()
    try:
        yield found
    finally:
        found.close()


def record(number: int, topic: str = "mail.events") -> Output:
    return Output(topic, b"%d" % number, b"key")


def test_the_answer_is_the_offset_of_the_last_record() -> None:
    producer = Producer()
    with running(producer) as writer:
        assert asyncio.run(writer.write([record(1), record(2)])) == 1
    assert [value for _, value, _ in producer.sent] == [b"1", b"2"]
    assert producer.is_closed


def test_a_key_always_has_one_partition() -> None:
    producer = Producer()

    async def ask(writer: KafkaWriter) -> None:
        await asyncio.gather(*(writer.write([record(number)]) for number in range(50)))

    with running(producer) as writer:
        asyncio.run(ask(writer))
    assert len(producer.sent) == 50
    assert len({partition for _, _, partition in producer.sent}) == 1


def test_a_failed_producer_is_replaced_and_its_requests_are_not_written() -> None:
    good = Producer()
    with running(Producer(KafkaError("lost")), good) as writer:
        with pytest.raises(NotWritten, match="lost"):
            asyncio.run(writer.write([record(1)]))
        assert asyncio.run(writer.write([record(2)])) == 0
    assert [value for _, value, _ in good.sent] == [b"2"]


def test_a_topic_that_is_missing_is_left_out() -> None:
    producer = Producer()
    with running(producer, missing=lambda topics, _: topics & {"gone"}) as writer:
        asyncio.run(writer.write([record(1), record(2, "gone")]))
    assert [topic for topic, _, _ in producer.sent] == ["mail.events"]


def test_without_kafka_the_answer_comes_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "WRITE_S", 0.1)
    monkeypatch.setattr(writing, "ANSWER_S", 0.05)
    with running(KafkaError("no brokers")) as writer, pytest.raises(NotWritten):
        asyncio.run(writer.write([record(1)]))


def test_more_than_the_bound_is_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "WRITE_S", 0.1)
    monkeypatch.setattr(writing, "ANSWER_S", 0.05)
    monkeypatch.setattr(writing, "MAX_WAITING", 3)

    async def ask(writer: KafkaWriter) -> list[str]:
        found = await asyncio.gather(
            *(writer.write([record(number)]) for number in range(5)), return_exceptions=True
        )
        return [str(each) for each in found]

    with running(KafkaError("no brokers")) as writer:
        answers = asyncio.run(ask(writer))
    assert sum("too many" in each for each in answers) == 2


class PausingProducer(Producer):
    """The process is paused for a minute after this many records were handed to it."""

    def __init__(self, clock: FakeClock, after: int) -> None:
        super().__init__()
        self._clock, self._after = clock, after

    def send(self, *record: Any) -> Future:
        found = super().send(*record)
        if len(self.sent) == self._after:
            self._clock.go_on(60.0)
        return found


@pytest.mark.parametrize("after", [0, 1, 2])
def test_a_process_that_was_paused_hands_nothing_more_to_kafka_and_says_so(after: int) -> None:
    clock = FakeClock()
    producer = PausingProducer(clock, after)

    def pause(_name: str) -> None:
        if not after:
            clock.go_on(60.0)

    point = Failpoints.parse("api.taken", pause)
    with running(producer, clock=clock, failpoints=point) as writer:
        with pytest.raises(NotWritten, match="did not answer"):
            asyncio.run(writer.write([record(1), record(2), record(3)]))
        assert len(producer.sent) == after
        # The next request has its own time, and another producer if this one has a part of it.
        assert asyncio.run(writer.write([record(4)])) == after
        assert producer.is_closed is bool(after)
    assert producer.sent[-1][1] == b"4"


class UnknowingProducer(Producer):
    """A producer that does not know its topics yet; `wait` is called when it waits for them."""

    def __init__(self, wait: Callable[[float], None]) -> None:
        super().__init__()
        self._wait = wait

    def _wait_on_metadata(self, topic: str, timeout_ms: float) -> set[int]:
        self._wait(timeout_ms)
        return super()._wait_on_metadata(topic, timeout_ms)


@pytest.mark.parametrize("key", [b"key", None])
def test_a_process_that_was_paused_while_it_waited_for_a_topic_writes_nothing_late(
    key: bytes | None,
) -> None:
    clock = FakeClock()
    waits = [60.0]
    producer = UnknowingProducer(lambda _: clock.go_on(waits.pop() if waits else 0.0))
    with running(producer, clock=clock) as writer:
        with pytest.raises(NotWritten, match="did not answer"):
            asyncio.run(writer.write([Output("mail.events", b"1", key)]))
        assert producer.sent == []
        assert asyncio.run(writer.write([record(2)])) == 0


def test_a_request_waits_for_a_topic_no_longer_than_its_time_and_harms_no_other() -> None:
    clock, given = FakeClock(), []

    def wait(timeout_ms: float) -> None:
        given.append(timeout_ms)
        if len(given) == 1:
            raise KafkaTimeoutError("no metadata")

    point = Failpoints.parse("api.taken", lambda _: clock.go_on(1.0))
    producer = UnknowingProducer(wait)
    with running(producer, clock=clock, failpoints=point) as writer:
        with pytest.raises(NotWritten, match="did not answer"):
            asyncio.run(writer.write([record(1)]))
        assert given == [3_000]
        assert asyncio.run(writer.write([record(2)])) == 0
        assert not producer.is_closed


def test_a_request_that_may_be_an_old_one_is_refused_at_once() -> None:
    producer = Producer()
    late = pytest.raises(NotWritten, match="was paused")
    with running(producer, is_suspect=lambda: True) as writer, late:
        asyncio.run(writer.write([record(1)]))
    assert producer.sent == []


def test_the_producer_gives_a_record_up_no_later_than_the_request_is_over() -> None:
    given = writing.PRODUCER_MS
    assert given["delivery_timeout_ms"] == given["max_block_ms"] == writing.WRITE_S * 1000
    # The library refuses any other order of these when it is created.
    assert given["linger_ms"] + given["request_timeout_ms"] < given["delivery_timeout_ms"]


@pytest.mark.parametrize(("point", "sent"), zip(API_NAMES, (0, 1, 1), strict=True))
def test_a_process_that_stands_still_at_any_step_has_said_nothing_yet(
    monkeypatch: pytest.MonkeyPatch, point: str, sent: int
) -> None:
    """So it is if it dies there: no answer, and whoever asked asks again."""
    monkeypatch.setattr(writing, "WRITE_S", 0.1)
    monkeypatch.setattr(writing, "ANSWER_S", 0.05)
    clock, producer = FakeClock(), Producer()
    reached, go_on = threading.Event(), threading.Event()

    def stand_still(_name: str) -> None:
        reached.set()
        go_on.wait(60.0)

    failpoints = Failpoints.parse(point, stand_still)
    with running(producer, clock=clock, failpoints=failpoints) as writer:
        with pytest.raises(NotWritten):
            asyncio.run(writer.write([record(1)]))
        assert reached.wait(60.0)
        assert len(producer.sent) == sent
        clock.go_on(0.1)  # the time of the request is over
        monkeypatch.setattr(writing, "WRITE_S", 60.0)
        go_on.set()
        assert asyncio.run(writer.write([record(2)])) >= 0
    assert [value for _, value, _ in producer.sent] == [b"1", b"2"][1 - sent :]


def test_one_key_never_takes_all_threads() -> None:
    workers, go_on = Workers("look-ups", 4, 60.0), threading.Event()

    async def ask() -> tuple[list[Any], bool]:
        slow = [asyncio.ensure_future(workers.run("a", go_on.wait)) for _ in range(4)]
        await asyncio.sleep(0)
        other = await workers.run("b", lambda: True)
        go_on.set()
        return await asyncio.gather(*slow, return_exceptions=True), other

    found, other = asyncio.run(ask())
    workers.close()
    assert [isinstance(each, Busy) for each in found] == [False, False, True, True]
    assert other


def test_a_task_that_takes_too_long_is_given_up_and_keeps_its_place() -> None:
    workers, go_on = Workers("look-ups", 2, 0.05), threading.Event()

    async def ask() -> None:
        for expected in ("no answer", "too many"):
            with pytest.raises(Busy, match=expected):
                await workers.run("a", go_on.wait)

    asyncio.run(ask())
    go_on.set()
    workers.close()
