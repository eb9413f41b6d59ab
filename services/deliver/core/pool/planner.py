"""Plans the connections to one site: facts in, steps out. Pure.

The edge reports each fact (a message was added, a connection opened, ended a transaction, closed)
and then calls plan(), which returns the steps to carry out now. Messages and connections are
whatever hashable handles the edge uses; the planner never looks into them.

Owns: which message goes over which connection, when a connection is opened or ended, the pause
after a failure to connect. Does not own: time limits within a transaction (the connection), what an
end means for the message (attempt/verdicts.py). Guarantees: every message that was added is named
by exactly one Start or Fail at a time, and by another one only after `returned` or a stale
`ended`; there are never more than `max_connections` connections, open and being opened.

A connection is idle, busy or ending:

    opened -> idle -> Start -> busy -> ended -> idle -> Quit -> ending -> closed
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection
from typing import Final, Generic, TypeVar

from msgspec import Struct

from services.deliver.core.attempt.results import (
    SERVICE_NOT_READY,
    Broken,
    ConnectFault,
    NoConnection,
    TransactionResult,
)
from shared.smtp.client.session import Unsendable
from shared.smtp.events import Finished, Stage

# How long an unreachable site is not tried again; doubles with each failure up to the longest.
FIRST_PAUSE_S: Final = 1.0
LONGEST_PAUSE_S: Final = 60.0
ALL_BUSY: Final = NoConnection("all connections to the site were busy")
NO_FAULT: Final = NoConnection("the site was not tried")

M = TypeVar("M")
C = TypeVar("C")


class PoolLimits(Struct, frozen=True):
    """The limits of one site's pool."""

    max_connections: int = 20
    max_messages_per_connection: int = 100
    idle_timeout_s: float = 5.0
    # How long a message may wait for a connection. Without a limit, a site that takes minutes
    # per message would fill the in-flight window and delay all other mail.
    max_wait_s: float = 120.0


class Open(Struct, frozen=True):
    """Open a connection, then report `opened` or `open_failed`."""


class Start(Struct, Generic[M, C], frozen=True):
    """Start the message's transaction, then report `ended`; or report `returned` or `dropped`."""

    connection: C
    message: M


class Quit(Struct, Generic[C], frozen=True):
    """End an idle connection, then report `closed`."""

    connection: C


class Fail(Struct, Generic[M], frozen=True):
    """The message gets no connection."""

    message: M
    fault: ConnectFault


Step = Open | Start[M, C] | Quit[C] | Fail[M]


class _Connection:
    __slots__ = ("added_at", "idle_until", "is_idle", "messages")

    def __init__(self) -> None:
        self.is_idle = False
        self.idle_until = 0.0
        self.messages = 0  # transactions started
        self.added_at = 0.0  # when the message under way was added


def is_stale(result: TransactionResult, messages: int) -> bool:
    """Whether a used connection had ended before this message, its `messages`th, could start.

    Servers close idle connections, or say 421 at the next command; neither is a failure of the
    message.
    """
    if messages <= 1:
        return False
    match result:
        case Broken(answered=answered, in_doubt=in_doubt):
            return not answered and not in_doubt
        case Finished(stage, reply):
            return reply.code == SERVICE_NOT_READY and stage in (Stage.RSET, Stage.MAIL)
        case _:
            return False


class SitePlanner(Generic[M, C]):
    """The state of one site's pool. Times are seconds of one monotonic clock."""

    def __init__(self, limits: PoolLimits) -> None:
        self._limits = limits
        self._waiting: deque[tuple[M, float]] = deque()  # with the time at which it was added
        self._connections: dict[C, _Connection] = {}
        # The last one used is used next, so that superfluous ones reach their time-out: the first
        # has been idle for longest.
        self._idle: deque[C] = deque()
        self._full: list[C] = []
        self._opening = 0
        self._pause_s = 0.0
        self._paused_until = 0.0
        self._fault: ConnectFault = NO_FAULT

    @property
    def connections(self) -> Collection[C]:
        """The open connections."""
        return self._connections.keys()

    @property
    def is_empty(self) -> bool:
        """Whether no message waits and no connection is open or being opened."""
        return not (self._waiting or self._connections or self._opening)

    @property
    def needs_plan(self) -> bool:
        """Whether plan() might return a step although no time has passed."""
        return bool(self._waiting or self._full)

    def is_paused(self, now: float) -> bool:
        """Whether no connection is opened because the last attempt to open one failed."""
        return now < self._paused_until

    def added(self, message: M, now: float) -> None:
        """A message is to be sent."""
        self._waiting.append((message, now))

    def opened(self, connection: C, now: float) -> None:
        """A connection was opened and can be used."""
        self._opening -= 1
        self._pause_s = 0.0
        self._connections[connection] = _Connection()
        self._park(connection, now)

    def open_failed(self, fault: ConnectFault, now: float) -> None:
        """A connection could not be opened."""
        self._opening -= 1
        self._fault = fault
        # Attempts to connect that start together fail together: they count as one failure.
        if now >= self._paused_until:
            self._pause_s = min(max(self._pause_s * 2, FIRST_PAUSE_S), LONGEST_PAUSE_S)
            self._paused_until = now + self._pause_s

    def ended(
        self, connection: C, message: M, result: TransactionResult, now: float, *, is_usable: bool
    ) -> bool:
        """A transaction ended; `is_usable`: the connection can start another one.

        Returns True if the result is the message's; False if the message waits again.
        """
        state = self._connections[connection]
        if is_stale(result, state.messages):
            self._waiting.appendleft((message, state.added_at))
            return False
        if isinstance(result, Unsendable):
            state.messages -= 1  # nothing was sent
        if is_usable:
            self._park(connection, now)
        return True

    def dropped(self, connection: C, now: float) -> None:
        """A message was not started, because it is no longer ours."""
        self._connections[connection].messages -= 1
        self._park(connection, now)

    def returned(self, connection: C, message: M) -> None:
        """A message was not started, because the connection cannot be used any more."""
        self._waiting.appendleft((message, self._connections[connection].added_at))

    def closed(self, connection: C) -> None:
        """A connection was closed, by either side."""
        state = self._connections.pop(connection, None)
        if state is not None and state.is_idle:
            self._idle.remove(connection)
        if connection in self._full:
            self._full.remove(connection)

    def withdraw_all(self) -> list[M]:
        """Return all messages that wait, and forget them."""
        messages = [message for message, _ in self._waiting]
        self._waiting.clear()
        return messages

    def plan(self, now: float) -> list[Step[M, C]]:
        """The steps to carry out now; the state changes as if they were carried out."""
        steps: list[Step[M, C]] = []
        waiting, idle = self._waiting, self._idle
        while waiting and idle:
            connection = idle.pop()
            message, added_at = waiting.popleft()
            state = self._connections[connection]
            state.is_idle = False
            state.messages += 1
            state.added_at = added_at
            steps.append(Start(connection, message))
        steps += map(Quit, self._full)
        self._full.clear()
        while idle and self._connections[idle[0]].idle_until <= now:
            connection = idle.popleft()
            self._connections[connection].is_idle = False
            steps.append(Quit(connection))
        oldest = now - self._limits.max_wait_s
        while waiting and waiting[0][1] <= oldest:
            steps.append(Fail(waiting.popleft()[0], ALL_BUSY))
        if waiting:
            steps += self._plan_opening(now)
        return steps

    def _plan_opening(self, now: float) -> list[Step[M, C]]:
        if self.is_paused(now):
            # Open connections are used, but no more are opened.
            failed = [] if self._connections else self.withdraw_all()
            return [Fail(message, self._fault) for message in failed]
        # After a failure a single connection is tried first.
        is_probe = self._pause_s > 0 and not self._connections
        limit = 1 if is_probe else self._limits.max_connections
        wanted = min(len(self._waiting), limit - len(self._connections)) - self._opening
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
