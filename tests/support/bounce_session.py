"""A bounce door without sockets and without Kafka: the session, its policy, the written records."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, cast

from services.ingest.core.bounce_door.held_bytes import HeldBytes
from services.ingest.core.bounce_door.recipients import Known
from services.ingest.core.smtp_server.connection_limiter import (
    ConnectionLimiter,
    ConnectionLimits,
    ConnectionSlot,
)
from services.ingest.core.smtp_server.rates import Rate
from services.ingest.edge.bounce_door.bounce_policy import BouncePolicy
from services.ingest.edge.bounce_door.context import (
    BounceDoorContext,
    BounceDoorMetrics,
    MessageLimits,
    ReturnedMail,
    server_options,
    time_limits,
)
from services.ingest.edge.smtp_server.context import Connections, ServerContext
from services.ingest.edge.writing.mail_ids import MailIds
from services.ingest.edge.writing.outbox import Outbox, Outcome, Unknown, Written
from services.ingest.settings import IngestSettings
from shared.mail.verp import day_of
from shared.runtime.clock import FakeClock
from shared.runtime.failpoints import Failpoints
from shared.runtime.telemetry import Counter
from shared.smtp.events import Ended, Hello, ServerEvent, StartTls
from shared.smtp.reply import Reply
from shared.smtp.server.session import ServerSession
from tests.support.bounce_door import CLIENT, DOMAIN, HOST, KEYS, local_part

SETTINGS = IngestSettings(bounce_host_name=HOST, bounce_max_message_bytes=200_000)
NOW_MS = 1_796_000_000_000
TODAY = day_of(NOW_MS)
RETURN_PATH = f"{local_part(TODAY)}@{DOMAIN}"


class FakeOutbox:
    """Takes the place of the outbox; the test decides the outcomes."""

    def __init__(self) -> None:
        self.mail: list[ReturnedMail] = []
        self._done: list[Callable[[Outcome], None]] = []

    def put(self, item: ReturnedMail, done: Callable[[Outcome], None]) -> None:
        self.mail.append(item)
        self._done.append(done)

    def settle(self, *outcomes: Outcome) -> None:
        """Report the outcomes of the oldest pending records; by default, all are written."""
        waiting = len(outcomes) or len(self._done)
        known = outcomes or [Written()] * waiting
        settled, self._done = self._done[:waiting], self._done[waiting:]
        for done, outcome in zip(settled, known, strict=True):
            done(outcome)


class BounceDoor:
    """The state that all connections share, with the limits of the settings."""

    def __init__(self, limits: MessageLimits | None = None, held_bytes: int = 0) -> None:
        self.outbox = FakeOutbox()
        self.clock = FakeClock(NOW_MS)
        self.held = HeldBytes(held_bytes or SETTINGS.bounce_max_held_bytes)
        self.metrics = BounceDoorMetrics(Counter(2), Counter(1), Counter(1))
        self.limiter = ConnectionLimiter(ConnectionLimits(100, 100, 0))
        clients = {DOMAIN: CLIENT}
        self.context = BounceDoorContext(
            server=ServerContext(
                server_options(SETTINGS, has_tls=True),
                time_limits(SETTINGS),
                lambda: None,
                Counter(1),
                cast(Connections, None),
            ),
            limits=limits or MessageLimits(0, 0),
            known=lambda now_ms: Known(clients.get, KEYS, day_of(now_ms), 60, HOST, CLIENT),
            address_rate=Rate(),
            client_rate=Rate(),
            held=self.held,
            messages=cast("Outbox[ReturnedMail]", self.outbox),
            new_return_id=MailIds().make,
            clock=self.clock,
            metrics=self.metrics,
            failpoints=Failpoints.none(),
        )


class BounceDialog:
    """One connection. Implements smtp_server.policy.Conversation."""

    def __init__(
        self, door: BounceDoor, address: str = "192.0.2.1", *, says_hello: bool = True
    ) -> None:
        slot = door.limiter.try_acquire()
        assert slot is not None
        slot.try_assign(address, 0.0)
        self.slot: ConnectionSlot = slot
        self.session = ServerSession(door.context.server.options)
        self.policy = BouncePolicy(door.context, self)
        self.has_ended = False
        self.session.greet(Reply(220, "", HOST))
        if says_hello:
            self.codes("EHLO mx.r.example")

    def answer(self, reply: Reply) -> None:
        self.session.answer(reply)
        self._run()

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        raise AssertionError("this policy needs no task")

    def send(self, data: bytes) -> None:
        self.session.receive(data)
        self._run()

    def codes(self, *lines: str) -> list[int]:
        """Send these lines, and return the codes of the replies."""
        self.send("".join(f"{line}\r\n" for line in lines).encode())
        return self.new_codes()

    def new_codes(self) -> list[int]:
        """Return the codes of the replies since the last call."""
        output = self.session.take_output().decode().splitlines()
        return [int(line[:3]) for line in output if line[3:4] == " "]

    def _run(self) -> None:
        while (event := self.session.next_event()) is not None:
            if isinstance(event, Ended):
                self.has_ended = True
                return
            reply = self._judge(event)
            if reply is not None:
                self.session.answer(reply)

    def _judge(self, event: ServerEvent) -> Reply | None:
        match event:
            case Hello():
                return Reply(250)
            case StartTls():
                return Reply(220, "2.0.0", "Ready to start TLS")
        return self.policy.judge(event)


UNKNOWN = Unknown()
