"""Keeps the state of each key (free, suspended or slowed down) and decides its changes. Pure.

A key identifies the subject of a state, for example `provider:google` or
`client:shop@provider:google`; keys.py makes the keys. A suspension ends by itself. A slow-down
multiplies the rate by a factor. Each further slow-down halves the factor (multiplicative decrease).
After `for_s`, and then after each quiet minute, a tenth of the full rate is added (additive
increase). A suspension that begins soon after the end of the previous suspension lasts twice as
long.

Owns: the state machine of one key.

    state        event       next state
    free         slow_down   slowed: half the rate for `for_s`, then it recovers
    slowed       slow_down   slowed: half of this rate, once per SETTLE_S
    any          suspend     suspended for `for_s`, doubled for each strike before it
    suspended    suspend     the same: replies to attempts in progress add no strike
    any          resume      free
    suspended    time        free, or slowed; its strikes are kept for twice its duration

Times are Unix seconds, because all workers share this state.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

HALF: Final = 0.5
LEAST_FACTOR: Final = 1 / 64
STEP: Final = 0.1
QUIET_S: Final = 60.0
# Replies within this time after the first such reply belong to attempts that began before that
# reply.
SETTLE_S: Final = 10.0
LONGEST_S: Final = 86_400.0
_ALMOST_ONE: Final = 0.999


class Action(StrEnum):
    """The change that a reply or an operator makes to a key."""

    SLOW_DOWN = "slow_down"
    SUSPEND = "suspend"
    RESUME = "resume"


class Suspension(Struct, frozen=True, omit_defaults=True):
    """The state of one key.

    If several workers write states of one key, the state with the latest `changed_at` wins.
    """

    key: str
    changed_at: float
    until: float = 0.0  # the key is suspended until this time; 0 if it is not suspended
    lasted_s: float = 0.0
    strikes: int = 0
    factor: float = 1.0
    slowed_at: float = 0.0
    slow_for_s: float = 0.0
    reason: str = ""

    def within_bounds(self) -> Suspension:
        """Return this state with all values in their allowed ranges.

        The values must be checked, because Redis may contain any values.
        """
        return replace(
            self,
            factor=min(1.0, max(LEAST_FACTOR, self.factor)),
            lasted_s=min(LONGEST_S, max(0.0, self.lasted_s)),
            strikes=max(0, self.strikes),
        )

    def is_suspended(self, now: float) -> bool:
        """Return whether no mail may be sent now."""
        return now < self.until

    def factor_at(self, now: float) -> float:
        """Return the part of the full rate that may be used now."""
        quiet_s = now - self.slowed_at - self.slow_for_s
        if self.factor >= 1 or quiet_s < 0:
            return self.factor
        return min(1.0, self.factor + STEP * (1 + quiet_s // QUIET_S))

    def is_over(self, now: float) -> bool:
        """Return True if this state has no effect any more, so that it need not be kept."""
        if self.until and now < self.until + 2 * self.lasted_s:
            return False
        return self.factor_at(now) > _ALMOST_ONE


class Event(Struct, frozen=True):
    """An event that changes the state of a key, with its duration and reason."""

    action: Action
    for_s: float
    reason: str


def changed(key: str, before: Suspension | None, event: Event, now: float) -> Suspension | None:
    """Return the state after this event; None if the event changes nothing."""
    state = before or Suspension(key, now)
    match event.action:
        case Action.RESUME:
            return Suspension(key, now, reason=event.reason) if before else None
        case Action.SUSPEND:
            return _suspended(state, event, now)
        case Action.SLOW_DOWN:
            return _slowed(state, event, now)


def _suspended(state: Suspension, event: Event, now: float) -> Suspension | None:
    if state.is_suspended(now):
        return None
    is_again = state.until and now < state.until + 2 * state.lasted_s
    strikes = state.strikes + 1 if is_again else 1
    lasts_s = min(event.for_s * 2 ** min(strikes - 1, 20), LONGEST_S)
    return replace(
        state,
        changed_at=now,
        until=now + lasts_s,
        lasted_s=lasts_s,
        strikes=strikes,
        reason=event.reason,
    )


def _slowed(state: Suspension, event: Event, now: float) -> Suspension | None:
    factor = state.factor_at(now)
    if factor < 1 and now < state.slowed_at + SETTLE_S:
        return None
    return replace(
        state,
        changed_at=now,
        factor=max(LEAST_FACTOR, factor * HALF),
        slowed_at=now,
        slow_for_s=event.for_s,
        reason=event.reason,
    )


class Suspensions:
    """The states of all keys, as this worker knows them."""

    def __init__(self) -> None:
        self._states: dict[str, Suspension] = {}
        # `has_any` is True if any state is kept. It is an attribute, because it is read for each
        # message.
        self.has_any = False

    def __len__(self) -> int:
        return len(self._states)

    def get(self, key: str) -> Suspension | None:
        """Return the state of this key; None if the key is free."""
        return self._states.get(key)

    def all(self) -> list[Suspension]:
        """Return all states that are kept."""
        return list(self._states.values())

    def happen(self, key: str, event: Event, now: float) -> Suspension | None:
        """Apply an event. Return the new state for other workers; None if nothing changed."""
        found = changed(key, self._states.get(key), event, now)
        if found is not None:
            self.merge([found], now)
        return found

    def merge(self, states: list[Suspension], now: float) -> bool:
        """Merge states of other workers: the later state of a key wins.

        Return True if any state is new.
        """
        is_new = False
        for state in states:
            known = self._states.get(state.key)
            if known is None or known.changed_at < state.changed_at:
                self._states[state.key] = state
                is_new = True
        for key in [key for key, state in self._states.items() if state.is_over(now)]:
            # A resumed key is kept for some time, because another worker may still send an older
            # state.
            if now - self._states[key].changed_at > SETTLE_S:
                del self._states[key]
                is_new = True
        self.has_any = bool(self._states)
        return is_new

    def suspended(self, keys: tuple[str, ...], now: float) -> Suspension | None:
        """Return the longest suspension of these keys; None if no key is suspended."""
        found: Suspension | None = None
        for key in keys:
            state = self._states.get(key)
            if state and now < state.until and (found is None or found.until < state.until):
                found = state
        return found

    def factor(self, key: str, now: float) -> float:
        """Return the part of the full rate that mail of this key may use."""
        state = self._states.get(key)
        return state.factor_at(now) if state else 1.0
