"""The connections to one site and the messages that wait for one: first come, first served.

Owns: which message goes over which connection, when a connection is opened, the pause after a
failure. Does not own: one connection's dialog (connection.py), the meaning of an answer
(OutcomeRules), which site a message goes to (pools.py). Guarantees: the future of every delivery
is set exactly once, unless it was cancelled; `begin` is called once, just before the first byte or
outcome.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from typing import Final, Protocol, TypeGuard

from msgspec import Struct

from services.deliver.core.outcome import Outcome
from services.deliver.core.routing import Site
from services.deliver.edge.connection import (
    SERVICE_NOT_READY,
    Broken,
    Failpoints,
    Refused,
    SmtpConnection,
    Timeouts,
    TransactionResult,
    open_connection,
)
from shared.smtp.events import Finished, Stage
from shared.smtp.remote_text import clean_text
from shared.topics.records import Envelope

log = logging.getLogger(__name__)

# How long an unreachable site is not tried again; doubles with each failure up to the longest.
FIRST_PAUSE_S: Final = 1.0
LONGEST_PAUSE_S: Final = 60.0


class PoolSettings(Struct, frozen=True):
    """Limits of each site's pool."""

    ehlo_name: str
    timeouts: Timeouts
    max_connections: int = 20
    max_messages_per_connection: int = 100
    idle_timeout_s: float = 5.0
    # How long a message may wait for a connection. Without a limit, a site that takes minutes
    # per message would fill the in-flight window and delay all other mail.
    max_wait_s: float = 120.0


class OutcomeRules(Protocol):
    """Maps the end of a transaction, or of an attempt to connect, to the message's outcome."""

    def outcome(
        self, site: Site, wire: SmtpConnection, parcel: Delivery, ending: TransactionResult
    ) -> Outcome:
        """Map a finished transaction to an outcome."""
        ...

    def unreachable(self, site: Site, was_answered: bool, fault: Refused | str) -> Outcome:
        """Map a failure to connect to an outcome."""
        ...


class Delivery:
    """One message in a pool."""

    __slots__ = (
        "answered",
        "begin",
        "begun",
        "content",
        "future",
        "recipient",
        "sender",
        "since",
        "wire",
    )

    def __init__(
        self, envelope: Envelope, content: bytes, begin: Callable[[], bool] | None
    ) -> None:
        self.sender = envelope.sender
        self.recipient = envelope.recipient
        self.content = content
        self.begin = begin
        self.begun = False
        self.answered = False
        loop = asyncio.get_running_loop()
        self.future: asyncio.Future[Outcome | None] = loop.create_future()
        self.since = loop.time()
        self.wire: SmtpConnection | None = None


def _says_goodbye(ending: TransactionResult) -> TypeGuard[Finished]:
    """Whether the server ended the session instead of starting the transaction."""
    return (
        isinstance(ending, Finished)
        and ending.reply.code == SERVICE_NOT_READY
        and ending.stage in (Stage.RSET, Stage.MAIL)
    )


def _answer(parcel: Delivery, outcome: Callable[[], Outcome]) -> None:
    """Set the message's outcome; an exception of `outcome` is passed on to the waiter."""
    if parcel.future.done():
        return
    try:
        found = outcome()
    except Exception as error:
        parcel.future.set_exception(error)
    else:
        parcel.future.set_result(found)


class SitePool:
    """The connections to one site and the messages waiting for one."""

    def __init__(
        self, site: Site, settings: PoolSettings, failpoints: Failpoints, meanings: OutcomeRules
    ) -> None:
        self._site = site
        self._settings = settings
        self._failpoints = failpoints
        self._meanings = meanings
        self._waiting: deque[Delivery] = deque()
        self._idle: list[SmtpConnection] = []
        self._wires: set[SmtpConnection] = set()
        self._opening: set[asyncio.Task[None]] = set()
        self._pause_s = 0.0
        self._paused_until = 0.0
        self._fault: Refused | str = ""
        self._loop = asyncio.get_running_loop()

    @property
    def connections(self) -> int:
        """Number of open connections."""
        return len(self._wires)

    def is_forgettable(self, now: float) -> bool:
        """Whether the pool is empty and not in a pause."""
        return self.is_empty and self._paused_until < now

    @property
    def is_empty(self) -> bool:
        """Whether no message waits and no connection is open or being opened."""
        return not (self._waiting or self._wires or self._opening)

    def add(self, parcel: Delivery) -> None:
        self._waiting.append(parcel)
        self._dispatch()

    def _dispatch(self) -> None:
        waiting = self._waiting
        while waiting and self._idle:
            self._next(self._idle.pop())
        if not waiting:
            return
        if not self._wires and self._loop.time() < self._paused_until:
            self._fail_waiting()
            return
        if self._loop.time() < self._paused_until:
            return  # open connections are used, but no more are opened during the pause
        # After a failure a single connection is tried first.
        is_probed = self._pause_s > 0 and not self._wires
        limit = 1 if is_probed else self._settings.max_connections
        wanted = min(len(waiting), limit - len(self._wires)) - len(self._opening)
        for _ in range(wanted):
            task = self._loop.create_task(self._open())
            self._opening.add(task)
            task.add_done_callback(self._opening.discard)

    def _may_begin(self, parcel: Delivery) -> bool:
        """Return True if this worker still owns the message; otherwise drop the message."""
        if parcel.begin is not None and not parcel.begun and not parcel.begin():
            if not parcel.future.done():
                parcel.future.set_result(None)
            return False
        parcel.begun = True
        return True

    def _start(self, wire: SmtpConnection, parcel: Delivery) -> None:
        parcel.wire = wire
        try:
            wire.start(
                parcel.sender,
                parcel.recipient,
                parcel.content,
                lambda ending: self._ended(wire, parcel, ending),
            )
        except Exception as error:
            if not parcel.future.done():
                parcel.future.set_exception(error)
            wire.close()

    def _ended(self, wire: SmtpConnection, parcel: Delivery, ending: TransactionResult) -> None:
        if isinstance(ending, Broken):
            parcel.answered |= ending.answered
            if not ending.answered and not ending.in_doubt and not ending.fresh:
                self._again(parcel)  # the server closed an idle connection: not a failure
                return
        elif _says_goodbye(ending) and wire.sent > 1:
            parcel.answered |= ending.stage is Stage.MAIL
            self._again(parcel)
            return
        _answer(parcel, lambda: self._meanings.outcome(self._site, wire, parcel, ending))
        if isinstance(ending, Broken):
            return
        if wire.sent >= self._settings.max_messages_per_connection:
            self._loop.call_soon(wire.quit)
        elif wire.is_usable:
            if self._waiting:
                # Not from within the reader: it may still hold further replies.
                self._loop.call_soon(self._next, wire)
            else:
                self._park(wire)

    def _again(self, parcel: Delivery) -> None:
        self._waiting.appendleft(parcel)
        self._loop.call_soon(self._dispatch)

    def _next(self, wire: SmtpConnection) -> None:
        if not wire.is_usable:
            return
        while self._waiting:
            parcel = self._waiting.popleft()
            if self._may_begin(parcel):
                self._start(wire, parcel)
                return
        self._park(wire)

    def _park(self, wire: SmtpConnection) -> None:
        wire.deadline = self._loop.time() + self._settings.idle_timeout_s
        self._idle.append(wire)

    async def _open(self) -> None:
        fault: Refused | str = "the site has no host"
        for host in self._site.hosts:
            try:
                wire = await open_connection(
                    host,
                    self._settings.ehlo_name,
                    self._settings.timeouts,
                    self._failpoints,
                )
            except Refused as error:
                fault = error
            except (OSError, TimeoutError) as error:
                fault = clean_text(f"{host.name}:{host.port}: {error or type(error).__name__}")
            except Exception as error:
                # A fault of our code must not leave the messages of this site waiting.
                log.exception("opening a connection failed", extra={"host": host.name})
                fault = clean_text(f"{host.name}:{host.port}: {type(error).__name__}")
            else:
                self._pause_s = 0.0
                self._wires.add(wire)
                wire.on_closed = self._closed
                self._next(wire)
                return
        self._fault = fault
        # Attempts to connect that start together fail together: they count as one failure.
        if self._loop.time() >= self._paused_until:
            self._pause_s = min(max(self._pause_s * 2, FIRST_PAUSE_S), LONGEST_PAUSE_S)
            self._paused_until = self._loop.time() + self._pause_s
        if not self._wires:
            self._fail_waiting()

    def _fail_waiting(self) -> None:
        parcels, self._waiting = self._waiting, deque()
        for parcel in parcels:
            self._give_up(parcel, self._fault)

    def _give_up(self, parcel: Delivery, fault: Refused | str) -> None:
        if self._may_begin(parcel):
            _answer(parcel, lambda: self._meanings.unreachable(self._site, parcel.answered, fault))

    def _closed(self, wire: SmtpConnection) -> None:
        self._wires.discard(wire)
        if wire in self._idle:
            self._idle.remove(wire)
        if self._waiting:
            self._loop.call_soon(self._dispatch)

    def sweep(self, now: float) -> None:
        """End connections and waiting messages that have passed their deadlines."""
        for wire in [wire for wire in self._wires if wire.deadline <= now]:
            if wire.is_busy:
                wire.expire()
            elif wire in self._idle:
                self._idle.remove(wire)
                wire.quit()
            else:
                wire.close()  # its QUIT was not answered
        waiting, oldest = self._waiting, now - self._settings.max_wait_s
        while waiting and waiting[0].since <= oldest:
            self._give_up(waiting.popleft(), "all connections to the site were busy")
        if waiting:
            self._dispatch()

    def close(self) -> None:
        """Close every connection: abort running transactions and give up waiting messages."""
        for parcel in self._waiting:
            if not parcel.future.done():
                parcel.future.set_result(None)
        self._waiting.clear()
        for task in list(self._opening):
            task.cancel()
        for wire in list(self._wires):
            wire.quit()

    def abort(self) -> None:
        """Close the connections that are still open."""
        for wire in list(self._wires):
            wire.close()
