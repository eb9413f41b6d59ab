"""Decides whether a message may be sent now or later. No other module decides this. Pure.

Each message belongs to a group. The messages of a group have the same sender and destination, the
same limits (allowance.py), and the same keys under which they can be suspended (suspensions.py).
The pool of a site has one waiting line per group, so that a client that is over its limit does not
delay other clients.

Owns: the groups, the limits in use, and the rule that decides which mail is turned away instead of
waiting in memory. Does not own: the rules (rules.py), the store, connections. `now` is in monotonic
seconds, `at` is in Unix seconds.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from msgspec import Struct

from services.deliver.core.reputation.warmup import Steps
from services.deliver.core.shaping.allowance import Allowance
from services.deliver.core.shaping.group import Group
from services.deliver.core.shaping.keys import Destination, Party, keys_of
from services.deliver.core.shaping.limits import Limit
from services.deliver.core.shaping.rules import KeyLimit, Rules
from services.deliver.core.shaping.suspensions import Suspension, Suspensions
from services.deliver.core.shaping.turns import LONGEST_TURN_S, SHORTEST_TURN_S
from services.deliver.core.shaping.workers import Workers
from shared.topics.reputation import WarmupState

MAX_GROUPS: Final = 20_000
# A limit that was not used for this time is forgotten. After this time a rate has no state left.
FORGET_S: Final = 60.0
# Mail comes back at this rate after a suspension, if no limit sets the rate.
DEFAULT_SLOW_RATE: Final = 10.0
_SLOW: Final = "slow"
# The parts of a key are the destination, and the sender's client, mailing, sending domain and
# source.
GroupKey = tuple[Destination, str, str, str, str]


def key_of(to: Destination, sender: Party) -> GroupKey:
    """Return the key of a group."""
    return (to, sender.client, sender.mailing_id, sender.sending_domain, sender.source)


class Held(Struct, frozen=True):
    """A message that is not offered now. It comes back after `delay_s`, or earlier if `is_turn`."""

    delay_s: float
    reason: str
    is_turn: bool = False


class Throttle:
    """All limits and suspensions of one worker."""

    def __init__(self, rules: Rules, workers: Workers) -> None:
        self.rules = rules
        self.workers = workers
        self.steps = Steps()
        self._steps_version = 0
        self.suspensions = Suspensions()
        self._allowances: dict[tuple[str, Limit], Allowance] = {}
        # Other modules may only read this dict. After warm_up() they may look up a group here
        # without a method call.
        self.groups: dict[GroupKey, Group] = {}
        # Maps each suspended key to the time at which the last of its messages with turns comes
        # back.
        self._turns: dict[str, float] = {}

    @property
    def allowances(self) -> Iterable[Allowance]:
        """Return all limits that are in use."""
        return self._allowances.values()

    def known(self, to: Destination, sender: Party) -> Group | None:
        """Return the group of a sender's mail to a destination, if it exists already."""
        self._follow_steps()
        return self.groups.get(key_of(to, sender))

    def warm_up(self, states: Iterable[WarmupState]) -> None:
        """Use the warm-up steps in these states for all sources that warm up."""
        self.steps.replace(states)
        self._follow_steps()

    def _follow_steps(self) -> None:
        if self._steps_version != self.steps.version:
            self._steps_version = self.steps.version
            self.groups.clear()

    def group(self, to: Destination, sender: Party, at: float) -> Group:
        """Return the group of a sender's mail to a destination; create it if there is none."""
        found = self.known(to, sender)
        if found is None:
            if len(self.groups) >= MAX_GROUPS:
                self.groups.clear()
            found = self.groups[key_of(to, sender)] = self._make_group(to, sender, at)
        return found

    def _make_group(self, to: Destination, sender: Party, at: float) -> Group:
        limits = self.rules.limits(to, sender)
        used = {each.key for each in limits if not each.limit.is_window}
        for key in (to.key, *keys_of(to, sender)[5:]):
            if key not in used and self.suspensions.factor(key, at) < 1:
                limits.append(KeyLimit(key, self._slow_limit(to), _SLOW))
        allowances = [self._allowance(each, at) for each in limits]
        warmup = self.steps.limit(self.rules, sender.source, to)
        warming = self._allowance(warmup, at) if warmup is not None else None
        if warming is not None:
            allowances.append(warming)
        return Group(to, sender, tuple(allowances), self.workers, warming)

    def _allowance(self, of: KeyLimit, at: float) -> Allowance:
        found = self._allowances.get((of.key, of.limit))
        if found is None:
            found = Allowance(of.key, of.limit, self.workers)
            found.factor = self.suspensions.factor(of.key, at)
            self._allowances[of.key, of.limit] = found
        return found

    def slow_rate(self, to: Destination) -> float:
        """Return the full rate of a destination without a limit, from which a slow-down starts."""
        setting = self.rules.settings(to).get("slow_rate")
        value = setting.value if setting else DEFAULT_SLOW_RATE
        return float(value) if isinstance(value, int | float) else DEFAULT_SLOW_RATE

    def _slow_limit(self, to: Destination) -> Limit:
        # The limit is per hour, so that slow rates need no fraction.
        return Limit(max(1, round(self.slow_rate(to) * 3_600)), 3_600)

    def suspension(self, group: Group, at: float, source: str = "") -> Suspension | None:
        """Return the suspension of this group; None if the group is not suspended."""
        if not len(self.suspensions):
            return None
        keys = (*group.keys, f"source:{source}@{group.to.key}") if source else group.keys
        return self.suspensions.suspended(keys, at)

    def held(
        self, group: Group, now: float, at: float, source: str = "", *, is_back: bool = False
    ) -> Held | None:
        """Return None if a new message may wait here; otherwise the reason and the delay.

        Each message gets its own turn, and the turns follow each other at the rate at which the
        mail of the group can be sent. `is_back` is True if the turn of the message has come.
        """
        if (found := self.held_back(group, at, source)) is not None:
            return found
        full = group.full(now, is_back=is_back)
        return None if full is None else _turn(full, now)

    def used_up(self, group: Group, now: float) -> Held | None:
        """Return the turn of a message that waits for a used-up window.

        The result is None if no window of the group is used up.
        """
        found = next((each for each in group.allowances if each.is_used_up(now)), None)
        return None if found is None else _turn(found, now)

    def held_back(self, group: Group, at: float, source: str = "") -> Held | None:
        """Return how a suspension delays a new message; None if there is no suspension."""
        found = self.suspension(group, at, source)
        return None if found is None else self.turned_away(group, found, at)

    def turned_away(self, group: Group, found: Suspension, at: float) -> Held:
        """Return the turn of a message that a suspension holds back."""
        rate = group.share_per_s or self.slow_rate(group.to) / self.workers.count
        turn = max(found.until, self._turns.get(found.key, 0.0)) + 1 / rate
        self._turns[found.key] = min(turn, at + LONGEST_TURN_S)
        reason = f"Suspended ({found.key}): {found.reason}"
        return Held(max(SHORTEST_TURN_S, self._turns[found.key] - at), reason)

    def refresh(self, now: float, at: float) -> None:
        """Apply the suspensions to the limits and drop unused limits. Call this once per second."""
        self.workers.book()
        for key, turn in list(self._turns.items()):
            if turn < at:
                del self._turns[key]
        idle = [
            key for key, allowance in self._allowances.items() if allowance.is_idle(now, FORGET_S)
        ]
        for each in idle:
            del self._allowances[each]
        for allowance in self._allowances.values():
            allowance.expire(now)
            allowance.factor = self.suspensions.factor(allowance.key, at)
        if idle or len(self.suspensions):
            self.groups.clear()

    def wanted(self, now: float) -> list[Allowance]:
        """Return the limits that need a new lease now."""
        return [each for each in self._allowances.values() if each.is_wanted(now)]


def _turn(full: Allowance, now: float) -> Held:
    """Return the turn of one message for which this limit has no room."""
    reason = f"Over the limit of {full.key}: {full.limit} {full.limit.unit}"
    # A used-up window has no room before the turn, so the message does not come back earlier.
    return Held(full.turn_s(now), reason, not full.limit.is_window)
