"""Plans the connections to one site from facts that the edge reports. Pure.

The edge reports each fact (a message was added, a transaction ended, a connection was opened or
closed) and then calls plan(), which returns the steps to carry out now. Messages and connections
can be any hashable objects; the planner never looks into them.

Owns: the choice of the connection for each message, the rules for opening and ending a connection,
the pause after a failure. Does not own: time limits within a transaction (the connection), the
meaning of a result for the message (attempt/verdicts.py), the number of connections that the site
accepts (concurrency.py), the time that the mail of the site takes (backlog.py). Guarantees: each
added message appears in exactly one Start or Fail. The message appears in another step only after
returned() was called, or after ended() has returned False. At most `max_connections` connections
are open or being opened. While a connection works or is being opened, the refusal of another
connection makes no message fail.

A site that pushes back (concurrency.py) gets fewer connections. During a pause no connection is
opened, and the mail waits. If a site cannot be reached, waiting mail fails.

A connection is idle, busy or ending:

    opened -> idle -> Start -> busy -> ended -> idle -> Quit -> ending -> closed
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterator
from typing import Final, Generic

from msgspec import Struct

from services.deliver.core.attempt.results import (
    Busy,
    ConnectFault,
    Refusal,
    TransactionResult,
    costs_nothing,
    is_push_back,
)
from services.deliver.core.pool.backlog import Backlog
from services.deliver.core.pool.concurrency import ConcurrencyLimit, PushBacks
from services.deliver.core.pool.slow_sites import SLOW_S
from services.deliver.core.pool.steps import C, Fail, M, Open, Quit, Start, Step
from services.deliver.core.pool.waiting import ConnectionState, Gate, Waiting, Wanted, anything
from shared.smtp.extensions import Unsendable

# After a failure no connection is opened for this time; the time doubles with each failure.
FIRST_PAUSE_S: Final = 1.0
LONGEST_PAUSE_S: Final = 60.0
# If mail waited for a limit while a connection was idle, no connection is opened for this time.
LIMITED_S: Final = 1.0


class PoolLimits(Struct, frozen=True):
    """The limits of one site's pool."""

    max_connections: int = 20
    max_messages_per_connection: int = 100
    idle_timeout_s: float = 5.0
    max_wait_s: float = 120.0  # The longest wait for a connection.
    opens_per_s: float = 0.0  # The most new connections per second; 0 means no limit.


class SitePlanner(Generic[M, C]):
    """The state of one site's pool. Times are seconds of one monotonic clock."""

    def __init__(self, limits: PoolLimits) -> None:
        self._limits = limits
        self._waiting: Waiting[M] = Waiting()
        self._connections: dict[C, ConnectionState[M]] = {}
        # The connection used last is used next, so that unneeded connections reach their time-out.
        # The first connection in the queue has been idle for longest.
        self._idle: deque[C] = deque()
        self._full: list[C] = []
        self._opening = 0
        self._pause_s = 0.0
        self._paused_until = 0.0
        self._fault: ConnectFault | None = None  # why no connection could be opened
        self._concurrency = ConcurrencyLimit(limits.max_connections)
        self._push_backs = PushBacks()
        self._backlog = Backlog()
        # The last time at which mail waited for a limit while a connection was idle.
        self._limited_at = -LIMITED_S
        self._next_open_at = 0.0
        # The most messages that may wait or be sent while the site is slow; None means no limit.
        self._most: int | None = None

    @property
    def connections(self) -> Collection[C]:
        """Return the open connections."""
        return self._connections.keys()

    @property
    def is_empty(self) -> bool:
        """Return True if no message waits and no connection is open or being opened."""
        return not (self._waiting or self._connections or self._opening)

    @property
    def needs_plan(self) -> bool:
        """Return whether plan() might return a step even if no time has passed."""
        return bool(self._waiting.count or self._full)

    @property
    def blocked_until(self) -> float:
        """Return when plan() may start a message that waits for limits; 0.0 if no message waits."""
        return self._waiting.blocked_until

    @property
    def messages(self) -> int:
        """Return the number of messages that wait or are being sent."""
        return len(self._waiting) + self._busy

    @property
    def _busy(self) -> int:
        return len(self._connections) - len(self._idle)

    def is_paused(self, now: float) -> bool:
        """Return whether no connection may be opened now, because of a failure."""
        return now < self._paused_until

    def has_recovered(self, now: float) -> bool:
        """Return whether the site has recovered, so that this planner need not be kept."""
        is_free = self._backlog.is_over(now)
        return is_free and not self.is_paused(now) and self._concurrency.is_full(now)

    def wait_s(self, now: float) -> float:
        """Return the likely wait of a new message for the site, without the wait for limits."""
        limit = self._concurrency.at(now)
        before = 0 if self._idle and self._waiting.blocked_until else len(self._waiting)
        return (before + (self._busy >= limit)) * self._each_s(limit, now)

    def _each_s(self, limit: int, now: float) -> float:
        busy = [state.started_at for state in self._connections.values() if not state.is_idle]
        return self._backlog.each_s(limit, min(busy, default=now), now)

    def restrict(self, most: int | None) -> None:
        """Let at most this number of messages wait or be sent; all other messages fail as Busy."""
        self._most = most

    def added(self, message: M, now: float, gate: Gate[M] | None = None) -> None:
        """Add a message. It is sent as soon as its gate admits the message."""
        self._waiting.add(message, now, gate)

    def gates(self) -> list[Gate[M]]:
        """Return the gates for which messages wait."""
        return self._waiting.gates()

    def waiting(self) -> Iterator[M]:
        """Return the messages that wait."""
        return self._waiting.messages()

    def withdraw(self, gate: Gate[M], wanted: Wanted[M] = anything) -> list[M]:
        """Remove and return the wanted messages that wait for this gate."""
        return self._waiting.take_line(gate, wanted)

    def opened(self, connection: C, now: float) -> None:
        """Record that a connection was opened and can be used."""
        self._opening -= 1
        self._fault = None
        self._connections[connection] = ConnectionState()
        self._concurrency.works(len(self._connections))
        self._park(connection, now)

    def open_failed(self, fault: ConnectFault, now: float) -> None:
        """Record that a connection could not be opened."""
        self._opening -= 1
        if not self._connections:
            self._fault = fault
        if self._connections or isinstance(fault, Refusal):
            self._concurrency.refused(len(self._connections), now)
        self._pause(now)

    def _pause(self, now: float) -> None:
        # Connections that were opened together fail together, so their failures count as one
        # failure.
        if now >= self._paused_until:
            self._pause_s = min(max(self._pause_s * 2, FIRST_PAUSE_S), LONGEST_PAUSE_S)
            self._paused_until = now + self._pause_s

    def ended(
        self, connection: C, message: M, result: TransactionResult, now: float, *, is_usable: bool
    ) -> bool:
        """Record that a transaction ended. If `is_usable`, the connection can start the next one.

        Returns True if the result is final for this attempt; False if the message waits again.
        """
        state = self._connections[connection]
        if costs_nothing(result, state.messages):
            self._waiting.add(message, state.added_at, state.gate, is_first=True)
            return False
        if isinstance(result, Unsendable):
            state.messages -= 1  # nothing was sent
        elif self._push_backs.is_one(result):
            self._concurrency.pushed_back(now)
            self._pause(now)
            self._backlog.held_up(self._pause_s, now)
        # The duration of a transaction that broke says nothing about other transactions.
        elif not is_push_back(result):
            self._pause_s = 0.0
            self._backlog.took(now - state.started_at, now)
        if is_usable:
            self._park(connection, now)
        return True

    def begun(self, connection: C, now: float) -> None:
        """Record that the transaction begins only now, because the message was not ready before."""
        self._connections[connection].started_at = now

    def dropped(self, connection: C, now: float) -> None:
        """Record that a message was not started, because it must not be sent now."""
        self._connections[connection].messages -= 1
        self._park(connection, now)

    def returned(self, connection: C, message: M) -> None:
        """Record that a message was not started, because the connection can no longer be used."""
        state = self._connections[connection]
        self._waiting.add(message, state.added_at, state.gate, is_first=True)

    def closed(self, connection: C) -> None:
        """Record that a connection was closed by either side."""
        state = self._connections.pop(connection, None)
        if state is not None and state.is_idle:
            self._idle.remove(connection)
        if connection in self._full:
            self._full.remove(connection)

    def withdraw_all(self) -> list[M]:
        """Remove and return all messages that wait."""
        return self._waiting.take_all()

    def plan(self, now: float) -> list[Step[M, C]]:
        """Return the steps to carry out now. The planner then treats these steps as carried out."""
        steps: list[Step[M, C]] = []
        waiting, idle = self._waiting, self._idle
        most = len(idle) if self._most is None else min(len(idle), self._most - self._busy)
        ready = waiting.take_ready(now, most) if waiting.count and most > 0 else []
        for message, added_at, gate in ready:
            connection = idle.pop()
            state = self._connections[connection]
            state.gate = gate
            state.is_idle = False
            state.messages += 1
            state.added_at, state.started_at = added_at, now
            steps.append(Start(connection, message))
        steps += map(Quit, self._full)
        self._full.clear()
        while idle and self._connections[idle[0]].idle_until <= now:
            connection = idle.popleft()
            self._connections[connection].is_idle = False
            steps.append(Quit(connection))
        steps += self._plan_turning_away(now)
        if waiting.blocked_until:
            self._limited_at = now
        if waiting.count and not (self._connections and now < self._limited_at + LIMITED_S):
            steps += self._plan_opening(now)
        return steps

    def _plan_turning_away(self, now: float) -> list[Step[M, C]]:
        """Fail messages that have waited too long, or that take room from other sites' mail."""
        failed = self._waiting.take_older(now - self._limits.max_wait_s)
        if not failed and self._most is None:
            return []
        limit = self._concurrency.at(now)
        each_s = self._each_s(limit, now)
        if self._most is not None:
            room = max(0, min(self._most - self._busy, int(SLOW_S / each_s) if each_s else 0))
            failed += self._waiting.take_last(len(self._waiting) - room)
        turns = self._backlog.turns(
            len(failed),
            len(self._waiting) * each_s,
            lambda at: each_s * limit / self._concurrency.expected(at),
            now,
        )
        return [Fail(message, Busy(turn)) for message, turn in zip(failed, turns, strict=True)]

    def _plan_opening(self, now: float) -> list[Step[M, C]]:
        if self.is_paused(now):
            if self._fault is None or self._connections or self._opening:
                return []
            return [Fail(message, self._fault) for message in self.withdraw_all()]
        # After a failure, only one connection is tried at first.
        limit = 1 if self._pause_s > 0 and not self._connections else self._concurrency.at(now)
        if self._most is not None:
            limit = min(limit, self._most)
        wanted = min(len(self._waiting), limit - len(self._connections)) - self._opening
        if self._limits.opens_per_s and wanted > 0:
            wanted = int(now >= self._next_open_at)
            if wanted:
                self._next_open_at = now + 1 / self._limits.opens_per_s
        self._opening += max(0, wanted)
        return [Open()] * wanted

    def _park(self, connection: C, now: float) -> None:
        state = self._connections[connection]
        if state.messages >= self._limits.max_messages_per_connection:
            self._full.append(connection)
            return
        state.is_idle = True
        state.idle_until = now + self._limits.idle_timeout_s
        self._idle.append(connection)
