"""The connections to one site: carries out what the planner decides.

Owns: the tasks that open connections, the futures of the messages. Does not own: the plan
(core/pool/planner.py), one connection's dialog (smtp/connection.py), the meaning of an answer
(OutcomeRules), which site a message goes to (pools.py). Guarantees: the future of every delivery
is set exactly once, unless it was cancelled; `begin` is called once, just before the first byte or
outcome.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Protocol

from services.deliver.core.attempt.outcome import Outcome
from services.deliver.core.attempt.results import (
    ConnectFault,
    ConnectionInfo,
    NoConnection,
    TransactionResult,
)
from services.deliver.core.attempt.verdicts import is_answer
from services.deliver.core.pool.planner import Fail, Open, PoolLimits, Quit, SitePlanner, Start
from services.deliver.core.routing.sites import Host, Site
from services.deliver.edge.smtp.connection import SmtpConnection
from services.deliver.edge.smtp.tls import OPPORTUNISTIC, TlsPolicy
from shared.smtp.remote_text import clean_text
from shared.topics.records import Envelope

log = logging.getLogger(__name__)


class OutcomeRules(Protocol):
    """Maps the end of a transaction, or of an attempt to connect, to the message's outcome."""

    def transaction(
        self, result: TransactionResult, was_answered: bool, where: ConnectionInfo
    ) -> Outcome:
        """The outcome of a transaction."""
        ...

    def no_connection(self, fault: ConnectFault, was_answered: bool, site: str) -> Outcome:
        """The outcome of a message that got no connection."""
        ...


class Opener(Protocol):
    """Opens connections; a remote fault is a value, never an exception."""

    async def open(self, host: Host, tls: TlsPolicy) -> SmtpConnection | ConnectFault:
        """Open a connection that is ready for transactions."""
        ...


class Delivery:
    """One message in a pool."""

    __slots__ = ("begin", "content", "future", "has_begun", "recipient", "sender", "was_answered")

    def __init__(
        self, envelope: Envelope, content: bytes, begin: Callable[[], bool] | None
    ) -> None:
        self.sender = envelope.sender
        self.recipient = envelope.recipient
        self.content = content
        self.begin = begin
        self.has_begun = False
        # Whether MAIL or RCPT was answered, in any transaction of this attempt.
        self.was_answered = False
        self.future: asyncio.Future[Outcome | None] = asyncio.get_running_loop().create_future()

    def try_begin(self) -> bool:
        """Return True if this worker still owns the message; otherwise the message has no outcome.

        An exception of `begin` is passed on to the waiter.
        """
        if self.has_begun or self.begin is None:
            return True
        try:
            self.has_begun = self.begin()
        except Exception as error:
            self.fail(error)
            return False
        if not self.has_begun:
            self.drop()
        return self.has_begun

    def settle(self, outcome: Callable[[], Outcome]) -> None:
        """Set the outcome; an exception of `outcome` is passed on to the waiter."""
        if self.future.done():
            return
        try:
            found = outcome()
        except Exception as error:
            self.future.set_exception(error)
        else:
            self.future.set_result(found)

    def drop(self) -> None:
        """Finish without an outcome."""
        if not self.future.done():
            self.future.set_result(None)

    def fail(self, error: Exception) -> None:
        """Finish with a fault of our own code."""
        if not self.future.done():
            self.future.set_exception(error)


class SitePool:
    """The connections to one site and the messages waiting for one."""

    def __init__(self, site: Site, limits: PoolLimits, opener: Opener, rules: OutcomeRules) -> None:
        self._site = site
        self._opener = opener
        self._rules = rules
        self._planner: SitePlanner[Delivery, SmtpConnection] = SitePlanner(limits)
        self._opening: set[asyncio.Task[None]] = set()
        self._will_plan = False
        self._loop = asyncio.get_running_loop()

    @property
    def connections(self) -> int:
        """Number of open connections."""
        return len(self._planner.connections)

    def is_forgettable(self, now: float) -> bool:
        """Whether the pool is empty and not in a pause."""
        return self._planner.is_empty and not self._planner.is_paused(now)

    def add(self, delivery: Delivery) -> None:
        self._planner.added(delivery, self._loop.time())
        self._plan()

    def sweep(self, now: float) -> None:
        """Act on all time limits that have passed."""
        for connection in list(self._planner.connections):
            connection.check_deadline(now)
        self._plan()

    def close(self) -> None:
        """Close every connection: abort running transactions and drop waiting messages."""
        for task in list(self._opening):
            task.cancel()
        for connection in list(self._planner.connections):
            connection.quit()
        for delivery in self._planner.withdraw_all():
            delivery.drop()

    def abort(self) -> None:
        """Close the connections that are still open."""
        for connection in list(self._planner.connections):
            connection.close()

    def _plan(self) -> None:
        self._will_plan = False
        for step in self._planner.plan(self._loop.time()):
            match step:
                case Start(connection, delivery):
                    self._start(connection, delivery)
                case Fail(delivery, fault):
                    self._give_up(delivery, fault)
                case Quit(connection):
                    connection.quit()
                case Open():
                    task = self._loop.create_task(self._open())
                    self._opening.add(task)
                    task.add_done_callback(self._opening.discard)

    def _plan_soon(self) -> None:
        """Plan after the current callback: a connection's reader may hold further replies."""
        if self._planner.needs_plan and not self._will_plan:
            self._will_plan = True
            self._loop.call_soon(self._plan)

    def _start(self, connection: SmtpConnection, delivery: Delivery) -> None:
        if not connection.is_usable:
            self._planner.returned(connection, delivery)
            self._plan_soon()
        elif not delivery.try_begin():
            self._planner.dropped(connection, self._loop.time())
            self._plan_soon()
        else:
            self._send(connection, delivery)

    def _send(self, connection: SmtpConnection, delivery: Delivery) -> None:
        def done(result: TransactionResult) -> None:
            self._ended(connection, delivery, result)

        try:
            connection.start(delivery.sender, delivery.recipient, delivery.content, done)
        except Exception as error:
            delivery.fail(error)
            connection.close()

    def _ended(
        self, connection: SmtpConnection, delivery: Delivery, result: TransactionResult
    ) -> None:
        has_result = self._planner.ended(
            connection, delivery, result, self._loop.time(), is_usable=connection.is_usable
        )
        delivery.was_answered |= is_answer(result)
        if has_result:
            where = ConnectionInfo(
                self._site.name, connection.source, connection.tls, connection.tls_fault
            )
            delivery.settle(lambda: self._rules.transaction(result, delivery.was_answered, where))
        self._plan_soon()

    def _give_up(self, delivery: Delivery, fault: ConnectFault) -> None:
        if delivery.try_begin():
            delivery.settle(
                lambda: self._rules.no_connection(fault, delivery.was_answered, self._site.name)
            )

    async def _open(self) -> None:
        opened = await self._try_hosts()
        if isinstance(opened, SmtpConnection):
            opened.on_closed = self._closed
            self._planner.opened(opened, self._loop.time())
        else:
            self._planner.open_failed(opened, self._loop.time())
        self._plan()

    async def _try_hosts(self) -> SmtpConnection | ConnectFault:
        fault: ConnectFault = NoConnection("the site has no host")
        for host in self._site.hosts:
            try:
                opened = await self._opener.open(host, OPPORTUNISTIC)
            except Exception as error:
                # A fault of our code must not leave the messages of this site waiting.
                log.exception("opening a connection failed", extra={"host": host.name})
                reason = f"{host.name}:{host.port}: {type(error).__name__}"
                opened = NoConnection(clean_text(reason))
            if isinstance(opened, SmtpConnection):
                return opened
            fault = opened
        return fault

    def _closed(self, connection: SmtpConnection) -> None:
        self._planner.closed(connection)
        self._plan_soon()
