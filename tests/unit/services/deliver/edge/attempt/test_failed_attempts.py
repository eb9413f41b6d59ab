"""A programming error in one attempt defers only that message."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import msgspec
from kafka.structs import TopicPartition

from services.deliver.core.attempt.results import Delivered, Outcome
from services.deliver.core.attempt.retry import RetryTimes
from services.deliver.edge.attempt.attempts import Attempts
from shared.runtime.clock import SystemClock
from shared.runtime.telemetry import Counter
from shared.stream.jobs import AssignedPartition, Job
from shared.stream.ledger import PartitionLedger
from shared.stream.transactions import Output
from shared.topics.names import RETURNED
from shared.topics.records import Envelope, Facts, Message, Origin
from tests.support.patience import PATIENCE_S


class Settled:
    """Replaces the worker; records the settled messages."""

    def __init__(self) -> None:
        self.outputs: dict[str, Sequence[Output]] = {}

    def settle(self, job: Job, outputs: Sequence[Output]) -> None:
        self.outputs[job.message.envelope.recipient] = outputs

    def name(self, job: Job, named: Callable[[bool], None]) -> None:
        named(True)


class FaultySender:
    async def send(
        self, envelope: Envelope, content: bytes, begin: Callable[[], bool]
    ) -> Outcome | None:
        if envelope.recipient.startswith("late"):
            begin()
        if not envelope.recipient.startswith("good"):
            raise UnicodeEncodeError("utf-8", "\udce8", 0, 1, "surrogates not allowed")
        return Delivered("250 ok", "2.0.0", "mx", "s", "") if begin() else None


def jobs(*recipients: str) -> list[Job]:
    ledger = PartitionLedger(0)
    ledger.add(0, len(recipients))
    assigned = AssignedPartition(TopicPartition("t", 0), ledger, lambda: True)
    return [
        Job(
            assigned,
            0,
            index,
            Message(Envelope("0" * 26, "c", "a@b", name, "<1@b>", 0, Origin(), Facts()), b"x"),
        )
        for index, name in enumerate(recipients)
    ]


def test_an_exception_in_one_attempt_defers_that_message_and_is_counted() -> None:
    settled, failed = Settled(), Counter(0)
    names = ("good@d", "bad@d", "late@d", "good2@d")

    async def test() -> None:
        attempts = Attempts(settled, FaultySender(), SystemClock(), RetryTimes(), failed)
        attempts.hand_out(jobs(*names))
        async with asyncio.timeout(PATIENCE_S):
            while len(settled.outputs) < len(names):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        assert not attempts.crashed.done()

    asyncio.run(test())
    kinds = {name: settled.outputs[name] for name in names}
    for name, outputs in kinds.items():
        event = next(output for output in outputs if output.topic == "mail.events")
        assert event.value is not None
        told = dict(event.headers)[b"ce_type".decode()].decode()
        assert told == ("sluice.mail.delivered" if "good" in name else "sluice.mail.deferred")
        if "good" not in name:
            assert "UnicodeEncodeError" in msgspec.json.decode(event.value)["reason"]
            assert any(output.topic.startswith("mail.deferred") for output in outputs)
    assert failed.get() == 2


def test_a_job_that_is_not_ours_any_more_is_left_alone_also_after_a_fault() -> None:
    settled, failed = Settled(), Counter(0)
    [job] = jobs("bad@d")
    job.assigned.closing = True

    async def test() -> None:
        attempts = Attempts(settled, FaultySender(), SystemClock(), RetryTimes(), failed)
        attempts.hand_out([job])
        async with asyncio.timeout(PATIENCE_S):
            while not failed.get():  # noqa: ASYNC110
                await asyncio.sleep(0.01)

    asyncio.run(test())
    assert settled.outputs == {}


class MovingClock(SystemClock):
    """A clock that the test sets."""

    def __init__(self) -> None:
        self.at_ms = 1_000

    def now_ms(self) -> int:
        return self.at_ms


def test_a_message_that_expires_while_it_waits_for_a_connection_is_not_attempted() -> None:
    settled, failed, clock = Settled(), Counter(0), MovingClock()

    class BusySite:
        """Provides a connection only after the expiry."""

        async def send(
            self, envelope: Envelope, content: bytes, begin: Callable[[], bool]
        ) -> Outcome | None:
            clock.at_ms = 3_000
            return Delivered("250 ok", "2.0.0", "mx", "s", "") if begin() else None

    [job] = jobs("late@d")
    envelope = msgspec.structs.replace(job.message.envelope, expires_at_ms=2_000)
    job.message = Message(envelope, b"x")

    async def test() -> None:
        attempts = Attempts(settled, BusySite(), clock, RetryTimes(), failed)
        attempts.hand_out([job])
        async with asyncio.timeout(PATIENCE_S):
            while not settled.outputs:  # noqa: ASYNC110
                await asyncio.sleep(0.01)

    asyncio.run(test())
    event, returned = settled.outputs["late@d"]
    assert dict(event.headers)["ce_type"] == b"sluice.mail.expired"
    assert returned.topic == RETURNED
    assert failed.get() == 0
