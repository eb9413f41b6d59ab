"""Holds the connections to one site, and carries out the decisions of the planner.

Owns: the tasks that open connections, the futures of the messages. Does not own: the plan
(core/pool/planner.py), the choice of the host for a connection (site_hosts.py), one connection's
dialog (smtp/connection.py), the meaning of an answer (OutcomeRules), the choice of the site for a
message (pools.py). Guarantees: the future of every delivery is set exactly once, unless it was
cancelled. `begin` is called once: just before the first byte of the message is sent, or just before
an outcome is set for a message that is not sent.
"""

from __future__ import annotations

import asyncio
import logging
import math
from functools import partial
from typing import Final

from services.deliver.core.attempt.results import (
    ConnectFault,
    ConnectionInfo,
    NoConnection,
    NoSource,
    Refusal,
    TransactionResult,
    is_push_back,
)
from services.deliver.core.attempt.verdicts import is_answer
from services.deliver.core.pool.planner import PoolLimits, SitePlanner
from services.deliver.core.pool.slow_sites import SiteLoad
from services.deliver.core.pool.steps import Fail, Open, Quit, Start
from services.deliver.edge.pool.delivery import Delivery, OutcomeRules
from services.deliver.edge.pool.site_hosts import SiteHosts
from services.deliver.edge.pool.turning_away import TurningAway
from services.deliver.edge.pool.wakeup import Wakeup
from services.deliver.edge.shaping.shaper import Shaper
from services.deliver.edge.smtp.connection import SmtpConnection
from services.deliver.edge.tracing.tracer import Tracer
from shared.smtp.extensions import Unsendable

log = logging.getLogger(__name__)

# The shortest wait for a limit. Without it, a limit of 200 per second would wake the pool 200 times
# per second.
SHORTEST_WAIT_S: Final = 0.01


class SitePool:
    """The connections to one site, and the messages that wait for a connection."""

    def __init__(
        self,
        site: str,
        limits: PoolLimits,
        hosts: SiteHosts,
        rules: OutcomeRules,
        shaper: Shaper | None = None,
        *,
        tracer: Tracer | None = None,
    ) -> None:
        """If `shaper` is None, only `limits` apply; if `tracer` is None, nothing is traced."""
        self._shaper = shaper
        self._tracer = tracer
        self.site = site
        self._hosts = hosts
        self._rules = rules
        self._planner: SitePlanner[Delivery, SmtpConnection] = SitePlanner(limits)
        self._turning_away: TurningAway | None = None
        if shaper is not None:
            self._turning_away = TurningAway(shaper, self._planner, self._give_up, self.add)
        self._opening: set[asyncio.Task[None]] = set()
        # The connections that are reserved. Their messages are not ready yet.
        self._preparing: dict[SmtpConnection, Delivery] = {}
        self._will_plan = False
        self._bytes = 0
        self._last_added_at = 0.0
        self._loop = asyncio.get_running_loop()
        self._wakeup = Wakeup(self._loop, self._plan_soon)

    @property
    def connections(self) -> int:
        """Return the number of open connections."""
        return len(self._planner.connections)

    def load(self, now: float) -> SiteLoad:
        """Return the number and size of the messages in this pool, and how long they will take."""
        planner = self._planner
        return SiteLoad(planner.messages, self._bytes, planner.wait_s(now), self._last_added_at)

    def restrict(self, most: int | None) -> None:
        """Limit the number of messages in this pool to `most`; None removes the limit."""
        self._planner.restrict(most)

    def is_forgettable(self, now: float) -> bool:
        """Return True if the pool is empty and its knowledge of the site is no longer needed."""
        return self._planner.is_empty and self._planner.has_recovered(now)

    def add(self, delivery: Delivery) -> None:
        if delivery.on_left is None:  # the message may have been in this pool before
            self._bytes += len(delivery.content)
            delivery.on_left = self._left
        self._last_added_at = self._loop.time()
        self._planner.added(delivery, self._last_added_at, delivery.group)
        self._plan_soon()  # one plan for all messages that arrive together

    def go_on(self) -> None:
        """Plan soon, because a limit for which messages wait may now allow more messages."""
        self._plan_soon()

    def _left(self, delivery: Delivery) -> None:
        self._bytes -= len(delivery.content)

    def sweep(self, now: float) -> None:
        """Act on all time limits that have passed."""
        for connection in list(self._planner.connections):
            connection.check_deadline(now)
        if self._turning_away is not None:
            self._turning_away.sweep()
        self._plan()

    def close(self) -> None:
        """Close every connection, abort the running transactions and drop the waiting messages."""
        for task in list(self._opening):
            task.cancel()
        self._wakeup.cancel()
        for connection in list(self._planner.connections):
            connection.quit()
        for delivery in (*self._preparing.values(), *self._planner.withdraw_all()):
            delivery.drop()
        self._preparing.clear()

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
        if self._shaper is not None and self._planner.blocked_until:
            self._wait_for_limits(self._shaper, self._planner.blocked_until)

    def _wait_for_limits(self, shaper: Shaper, until: float) -> None:
        """Plan again when a limit may allow more messages.

        The plan is made at a known time, or when the store has answered.
        """
        shaper.blocked(self)
        if math.isinf(until):
            return
        self._wakeup.ask(max(until, self._loop.time() + SHORTEST_WAIT_S))

    def _plan_soon(self) -> None:
        """Plan after the current callback, because the reader may have more replies to process."""
        if not self._will_plan and self._planner.needs_plan:
            self._will_plan = True
            self._loop.call_soon(self._plan)

    def _start(self, connection: SmtpConnection, delivery: Delivery) -> None:
        if not connection.is_usable:
            self._planner.returned(connection, delivery)
            self._plan_soon()
        elif delivery.prepare(lambda may_go: self._prepared(connection, delivery, may_go)):
            self._preparing[connection] = delivery
        else:
            self._begin(connection, delivery)

    def _prepared(self, connection: SmtpConnection, delivery: Delivery, may_go: bool) -> None:
        if self._preparing.pop(connection, None) is None:
            return  # the connection has closed, and the message waits again
        if not may_go:
            delivery.drop()
            self._planner.dropped(connection, self._loop.time())
        elif not connection.is_usable:
            self._planner.returned(connection, delivery)
        elif self._turning_away is not None and self._turning_away.is_due(delivery):
            self._planner.dropped(connection, self._loop.time())
        else:
            self._planner.begun(connection, self._loop.time())
            self._begin(connection, delivery)
        self._plan_soon()

    def _begin(self, connection: SmtpConnection, delivery: Delivery) -> None:
        if delivery.try_begin():
            self._send(connection, delivery)
            return
        self._planner.dropped(connection, self._loop.time())
        self._plan_soon()

    def _send(self, connection: SmtpConnection, delivery: Delivery) -> None:
        done = partial(self._ended, connection, delivery)
        try:
            if self._tracer is not None and self._tracer.is_active:
                connection.dialog = self._tracer.transaction(delivery, connection)
            content = delivery.content_for(connection)
            if isinstance(content, Unsendable):
                done(content)
            else:
                connection.start(delivery.sender, delivery.recipient, content, done)
        except Exception as error:
            delivery.fail(error)
            connection.close()

    def _ended(
        self, connection: SmtpConnection, delivery: Delivery, result: TransactionResult
    ) -> None:
        now = self._loop.time()
        has_result = self._planner.ended(
            connection, delivery, result, now, is_usable=connection.is_usable
        )
        # If a connection breaks, the message may be the cause. Such a break does not mean that the
        # server is busy.
        if has_result and self._planner.is_paused(now) and is_push_back(result):
            self._hosts.pushed_back(connection)
        if has_result and self._shaper is not None and delivery.group is not None:
            self._shaper.ended(delivery.group, result, connection.source)
        delivery.was_answered |= is_answer(result)
        if has_result:
            used = connection
            where = ConnectionInfo(
                self.site, used.source, used.tls, used.tls_fault, used.tls_policy, used.has_login()
            )
            delivery.settle(self._rules.transaction, result, delivery.was_answered, where)
        self._plan_soon()
        if connection.dialog is not None:
            connection.dialog.ended(result)
            connection.dialog = None

    def _give_up(self, delivery: Delivery, fault: ConnectFault) -> None:
        if isinstance(fault, Refusal) and self._shaper is not None and delivery.group is not None:
            self._shaper.refused(delivery.group, fault)
        if isinstance(fault, NoSource) and not delivery.has_begun:
            delivery.leave_source(fault)
        elif delivery.try_begin():
            delivery.settle(self._rules.no_connection, fault, delivery.was_answered, self.site)

    async def _open(self) -> None:
        opened: SmtpConnection | ConnectFault
        try:
            dialog = None
            if self._tracer is not None and self._tracer.is_active:
                dialog = self._tracer.opening(self._planner.waiting())
            opened = await self._hosts.open(dialog)
        except Exception as error:
            log.exception("a connection could not be opened", extra={"site": self.site})
            opened = NoConnection(f"an internal error: {type(error).__name__}")
        if isinstance(opened, SmtpConnection):
            opened.on_closed = self._closed
            self._planner.opened(opened, self._loop.time())
        else:
            self._planner.open_failed(opened, self._loop.time())
        self._plan()

    def _closed(self, connection: SmtpConnection) -> None:
        waiting = self._preparing.pop(connection, None)
        if waiting is not None:
            self._planner.returned(connection, waiting)
        self._hosts.closed(connection)
        self._planner.closed(connection)
        self._plan_soon()
