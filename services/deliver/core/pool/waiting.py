"""Holds the messages of one site that wait for a connection, in one line per group of limits. Pure.

A line whose group may not send now is skipped, so that a client that is over its limit does not
delay other clients. All messages without limits share one line. Owns: the order (first come, first
served in each line; the lines take turns), and the planner's data about a connection and its
message.
"""

from __future__ import annotations

import math
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from typing import Generic, Protocol, TypeVar

from services.deliver.core.pool.steps import M

Wanted = Callable[[M], bool]
W_contra = TypeVar("W_contra", contravariant=True)


def anything(_message: object) -> bool:
    """Return True for every message."""
    return True


class Gate(Protocol[W_contra]):
    """Decides when the messages of a line may be sent."""

    def admit(self, message: W_contra, now: float, waiting: int) -> float:
        """Count the message and return 0.0 if the limits allow it; otherwise return when to try."""
        ...

    def joined(self, count: int) -> None:
        """Add `count`, which may be negative, to the number of messages that wait."""
        ...


class Waiting(Generic[M]):
    """The lines of one site. A line holds each message with the time at which it was added."""

    def __init__(self) -> None:
        self._lines: OrderedDict[Gate[M] | None, deque[tuple[M, float]]] = OrderedDict()
        # The number of messages that wait; read-only. This number is an attribute, because it is
        # read often and len() would cost a call.
        self.count = 0
        # No message was added before this time. take_older() checks this time first, because there
        # is rarely an older message.
        self._oldest_at = math.inf
        # The time at which a skipped line may send again; 0.0 if no line was skipped.
        self.blocked_until = 0.0

    def __len__(self) -> int:
        return self.count

    def gates(self) -> list[Gate[M]]:
        """Return the gates of all lines."""
        return [gate for gate in self._lines if gate is not None]

    def messages(self) -> Iterator[M]:
        """Return all messages, line by line. Do not add or take messages during the iteration."""
        return (message for line in self._lines.values() for message, _ in line)

    def add(self, message: M, at: float, gate: Gate[M] | None, *, is_first: bool = False) -> None:
        """Add a message at the end of its line, or at its front if `is_first`."""
        line = self._lines.get(gate)
        if line is None:
            line = self._lines[gate] = deque()
        if is_first:
            line.appendleft((message, at))
        else:
            line.append((message, at))
        self.count += 1
        self._oldest_at = min(self._oldest_at, at)
        if gate is not None:
            gate.joined(1)

    def take(self, now: float) -> tuple[M, float, Gate[M] | None] | None:
        """Remove and return the next message that may be sent now; None if there is none."""
        self.blocked_until = 0.0
        # The lines are not copied, because there may be thousands of them. The loop ends as soon as
        # it changes the lines.
        for gate, line in self._lines.items():
            if gate is not None:
                ready = gate.admit(line[0][0], now, len(line))
                if ready:
                    first = min(self.blocked_until or ready, ready)
                    self.blocked_until = first
                    continue
            message, at = line.popleft()
            self._removed(gate, line)
            if line and len(self._lines) > 1:
                self._lines.move_to_end(gate)
            return message, at, gate
        return None

    def take_ready(self, now: float, most: int) -> list[tuple[M, float, Gate[M] | None]]:
        """Remove and return the next messages that may be sent now, at most `most` messages."""
        found: list[tuple[M, float, Gate[M] | None]] = []
        if len(self._lines) != 1:
            while len(found) < most and (taken := self.take(now)) is not None:
                found.append(taken)
            return found
        # Usually there is only one line, so its limits are updated once for all messages taken.
        self.blocked_until = 0.0
        ((gate, line),) = self._lines.items()
        while line and len(found) < most:
            if gate is not None and (ready := gate.admit(line[0][0], now, len(line))):
                self.blocked_until = ready
                break
            message, at = line.popleft()
            found.append((message, at, gate))
        if found:
            self._removed(gate, line, len(found))
        return found

    def take_older(self, than: float) -> list[M]:
        """Remove and return the messages that were added before this time."""
        found: list[M] = []
        if than < self._oldest_at:
            return found
        for gate, line in list(self._lines.items()):
            while line and line[0][1] <= than:
                found.append(line.popleft()[0])
                self._removed(gate, line)
        self._oldest_at = min((line[0][1] for line in self._lines.values()), default=math.inf)
        return found

    def take_last(self, count: int) -> list[M]:
        """Remove and return the last `count` messages in their order."""
        found: list[M] = []
        while len(found) < count and self._lines:
            gate, line = next(reversed(self._lines.items()))
            taken = [line.pop()[0] for _ in range(min(len(line), count - len(found)))]
            found = taken[::-1] + found
            self._removed(gate, line, len(taken))
        return found

    def take_line(self, gate: Gate[M] | None, wanted: Wanted[M] = anything) -> list[M]:
        """Remove and return the wanted messages of one line; the others keep their order."""
        line = self._lines.get(gate, deque())
        found = [message for message, _ in line if wanted(message)]
        if found:
            kept = [each for each in line if not wanted(each[0])]
            line.clear()
            line.extend(kept)
            self._removed(gate, line, len(found))
        return found

    def take_all(self) -> list[M]:
        """Remove and return all messages."""
        return [message for gate in list(self._lines) for message in self.take_line(gate)]

    def _removed(self, gate: Gate[M] | None, line: deque[tuple[M, float]], count: int = 1) -> None:
        self.count -= count
        if gate is not None:
            gate.joined(-count)
        if not line:
            del self._lines[gate]


class ConnectionState(Generic[M]):
    """A connection, and the message that it carries. Times are seconds of one monotonic clock."""

    __slots__ = ("added_at", "gate", "idle_until", "is_idle", "messages", "started_at")

    def __init__(self) -> None:
        self.is_idle = False
        self.idle_until = 0.0
        self.messages = 0  # The number of transactions started.
        self.added_at = 0.0  # The time at which the current message was added.
        self.gate: Gate[M] | None = None  # The gate of the current message.
        self.started_at = 0.0  # The time at which the current transaction began.
