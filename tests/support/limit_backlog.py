"""A backlog for one limited destination in virtual time: a worker that uses its share of a limit,
and the mail that it defers."""

from __future__ import annotations

import heapq
from collections import Counter, deque

from msgspec.structs import replace

from services.deliver.core.shaping.allowance import Allowance
from services.deliver.core.shaping.group import Group
from services.deliver.core.shaping.holds import RetryHolds
from services.deliver.core.shaping.keys import Destination, Party
from services.deliver.core.shaping.limits import parse_limit
from services.deliver.core.shaping.workers import Workers
from shared.topics.names import deferred
from tests.support.pool_talk import envelope

RATE = 200
TOPIC = deferred("1m")
MAIL = replace(envelope("a@big.example"), client="shop", turn_at_ms=1, due_at_ms=1)
STEP_S = 0.01
# A process stands still for such a time in each period of two seconds. The burst of a limit
# compensates for a tenth of a second.
PERIOD_S = 2.0


def group_under(limit: str, workers: Workers) -> tuple[Allowance, Group]:
    """Return a limit of a provider, and the group of a client's mail with only this limit."""
    of = Allowance("provider:big", parse_limit(limit), workers)
    to, shop = Destination("big.example", "big", "big"), Party("shop", "", "shop.example")
    return of, Group(to, shop, (of,), workers)


class Backlog:
    """One worker and the mail that it has to send."""

    def __init__(
        self,
        held_up_s: float,
        reads_each_s: float = STEP_S,
        sends_per_s: float = 10_000.0,
        *,
        holds: bool = True,
        room: int = 20_000,
    ) -> None:
        """`sends_per_s` is the highest rate of the process itself. With `holds`, mail is read when
        there is room for it, not when its turn has come. `room` is the most mail in flight."""
        self._sends_per_s, self._may_send = sends_per_s, 0.0
        self._workers = Workers(1, room=room)
        self.of, group = group_under(f"{RATE}/s", self._workers)
        self._holds = RetryHolds(lambda _: False, lambda: self._now) if holds else None
        if self._holds is not None:
            self._holds.note(MAIL, group)
        self._now = 0.0
        self.turned_away: Counter[int] = Counter()
        self.sent: list[float] = []
        self._held_up_s = held_up_s
        self._reads_each_s = reads_each_s
        self._waiting: deque[int] = deque()
        self._back: list[tuple[float, int]] = []

    def run(self, messages: int, come_per_s: float, then_per_s: float | None = None) -> float:
        """Send all messages; return the time that this took. `then_per_s` is the highest rate of
        the process after all messages have arrived."""
        now, come, looked_at, read_at = 0.0, 0, 0.0, 0.0
        while len(self.sent) < messages:
            now += STEP_S
            if now - read_at >= self._reads_each_s:
                read_at = now
                self._now = now
                while self._back and not self._is_left(self._back[0][0] - now):
                    self._take_in(heapq.heappop(self._back)[1], now, is_back=True)
            while come < min(messages, now * come_per_s):
                self._take_in(come, now, is_back=False)
                come += 1
            if then_per_s is not None and come == messages:
                self._sends_per_s = then_per_s
            if now % PERIOD_S >= self._held_up_s:
                self._send(now)
            if now - looked_at >= 1:
                looked_at = now
                self.of.expire(now)
        return now

    def _take_in(self, message: int, now: float, *, is_back: bool) -> None:
        if self.of.is_full(now, is_back=is_back):
            self.turned_away[message] += 1
            heapq.heappush(self._back, (now + self.of.turn_s(now), message))
        else:
            self._waiting.append(message)
            self._waits(1)

    def _waits(self, more: int) -> None:
        self.of.waiting += more
        self._workers.waiting += more

    def _is_left(self, due_in_s: float) -> bool:
        if self._holds is None:
            return due_in_s > 0
        return self._holds.wait_s(TOPIC, MAIL, 0, due_in_s) > 0

    def _send(self, now: float) -> None:
        self._may_send = min(self._may_send, 1.0) + self._sends_per_s * STEP_S
        while self._waiting and self._may_send >= 1 and self.of.ready_at(now, 1) == 0:
            self._may_send -= 1
            self.of.take(now, 1, len(self._waiting))
            self._waiting.popleft()
            self._waits(-1)
            self.sent.append(now)
