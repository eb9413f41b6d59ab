"""Attempts under operators' orders: a worker, a sender that the test stops, changing orders."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from kafka.structs import TopicPartition
from msgspec import Struct

from services.deliver.core.attempt.results import Delivered, Outcome
from services.deliver.core.attempt.retry import RetryTimes
from services.deliver.core.control.orders import Orders
from services.deliver.edge.attempt.attempt_records import EventCounter
from services.deliver.edge.attempt.attempts import Attempts, Gates
from services.deliver.edge.attempt.parts import NoLanes
from services.deliver.edge.control.control import Control
from services.deliver.edge.pool.delivery import Permission
from shared.runtime.clock import FakeClock
from shared.runtime.telemetry import Counter
from shared.stream.jobs import AssignedPartition, Job
from shared.stream.ledger import PartitionLedger
from shared.stream.transactions import Output
from shared.topics.codec import decode_event
from shared.topics.control import Order
from shared.topics.records import Envelope, Event, Facts, Message, Origin


class KnownOrders:
    """The orders of a test."""

    def __init__(self) -> None:
        self.orders = Orders()

    def is_current(self) -> bool:
        return True


class Settled:
    """Replaces the worker and records the settled outcomes by job."""

    def __init__(self) -> None:
        self.written: list[tuple[Job, Sequence[Output]]] = []
        self.named: list[tuple[Job, Callable[[bool], None]]] = []

    def settle(self, job: Job, outputs: Sequence[Output]) -> None:
        self.written.append((job, outputs))

    def name(self, job: Job, named: Callable[[bool], None]) -> None:
        """Store the request; the test answers it."""
        self.named.append((job, named))

    def events(self) -> list[Event]:
        """Return all events, in order."""
        found = [
            decode_event(output.headers, output.value)
            for _, outputs in self.written
            for output in outputs
            if output.topic == "mail.events"
        ]
        return [event for event in found if isinstance(event, Event)]

    def kinds(self) -> list[str]:
        return [event.type.value for event in self.events()]


class HeldSender:
    """Keeps each message waiting for a connection until the test lets it begin."""

    def __init__(self, control: Control) -> None:
        self._control = control
        self._gates: list[asyncio.Event] = []
        self.targets: list[str] = []
        self.sent = 0
        self.fault: Exception | None = None

    async def send(
        self, envelope: Envelope, content: bytes, begin: Callable[[], bool]
    ) -> Outcome | None:
        self.targets.append(self._control.target(envelope))
        gate = asyncio.Event()
        self._gates.append(gate)
        await gate.wait()
        if self.fault is not None:
            raise self.fault
        if isinstance(begin, Permission):
            may_go: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
            if begin.prepare(may_go.set_result) and not await may_go:
                return None
        if not begin():
            return None
        self.sent += 1
        return Delivered("250 ok", "2.0.0", "mx", "s", "")

    def connect(self) -> None:
        """Let all messages that wait begin."""
        gates, self._gates = self._gates, []
        for gate in gates:
            gate.set()

    @property
    def waiting(self) -> int:
        return len(self._gates)


class Place(Struct, frozen=True):
    """All objects that a test uses."""

    settled: Settled
    source: KnownOrders
    sender: HeldSender
    attempts: Attempts
    clock: FakeClock
    failed: Counter
    counted: EventCounter

    def order(self, *orders: Order) -> None:
        """Change the orders, as the follower does."""
        self.source.orders = Orders(orders)
        self.attempts.look_again()


def make_place() -> Place:
    """Call it in a running loop."""
    settled, source, clock, failed = Settled(), KnownOrders(), FakeClock(), Counter(0)
    events = EventCounter()
    control = Control(source, clock)
    sender = HeldSender(control)
    attempts = Attempts(
        settled,
        sender,
        clock,
        RetryTimes(),
        failed,
        gates=Gates(NoLanes(), control, events, "shaped"),
    )
    return Place(settled, source, sender, attempts, clock, failed, events)


def make_job(
    recipient: str = "anna@example.net",
    *,
    not_before_ms: int = 0,
    expires_at_ms: int = 0,
    **more: Any,
) -> Job:
    ledger = PartitionLedger(0)
    ledger.add(0, 1)
    assigned = AssignedPartition(TopicPartition("t", 0), ledger, lambda: True)
    envelope = Envelope(
        "0" * 26,
        "shop",
        "a@b",
        recipient,
        "<1@b>",
        0,
        Origin(),
        Facts(),
        not_before_ms=not_before_ms,
        expires_at_ms=expires_at_ms,
        **more,
    )
    return Job(assigned, 0, 0, Message(envelope, b"x"))


async def until(is_met: Callable[[], bool]) -> None:
    """Let the loop run until the condition is met."""
    async with asyncio.timeout(20):
        while not is_met():  # noqa: ASYNC110
            await asyncio.sleep(0)


async def idle() -> None:
    """Run all tasks until none can continue."""
    for _ in range(20):
        await asyncio.sleep(0)
