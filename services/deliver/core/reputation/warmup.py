"""Decides which step of its warm-up schedule a source has reached at a provider. Pure.

    state      event                                                   next state
    waiting    a result of mail from this source                       running
    running    24 h, fewer results than `enough` of the step's limit   waiting, the same step
    running    24 h, delivered share of `passes` or more               waiting, the next step
    running    24 h, delivered share below `falls`                     waiting, the previous step
    running    24 h, any other delivered share                         waiting, the same step
    (a step past the last one)                                         warm: no limit

A step begins with its first result, so a source that gets no mail stays at its step. Each block is
counted, even if one message is blocked several times. A plain deferral (greylisting) is not
counted.

This module also keeps the steps from which a worker makes its warm-up limits. Guarantees: a source
without a known state is at its first step. So a process that has not yet read the topic
mail.reputation sends too little from a new address, not too much. Until the process has read the
topic, mail of a warm source overflows to other sources.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from msgspec.structs import replace

from services.deliver.core.reputation.facts import Result
from services.deliver.core.shaping.keys import Destination
from services.deliver.core.shaping.rules import KeyLimit, Rules
from services.deliver.core.shaping.warming import DAY_S, Schedule, limit_of, place_of, provider_at
from shared.topics.reputation import WarmupState

DAY_MS: Final = DAY_S * 1000


def counted(state: WarmupState, result: Result, at_ms: int, number: int = 1) -> WarmupState:
    """Return the state after `number` more results of mail from the source."""
    if result is Result.COMPLAINED:
        return state  # a complaint is not about the source address
    if not state.since_ms:
        state = replace(state, since_ms=at_ms)
    if result is Result.DELIVERED:
        return replace(state, delivered=state.delivered + number)
    return replace(state, failed=state.failed + number)


def judged(state: WarmupState, schedule: Schedule, now_ms: int) -> WarmupState:
    """Return the state at this time. The step does not change before its day of 24 h is over."""
    limit = schedule.limit(state.step)
    if limit is None or not state.since_ms or now_ms < state.since_ms + DAY_MS:
        return state
    sent = state.delivered + state.failed
    step = state.step
    if sent >= max(1.0, schedule.enough * limit.amount):
        share = state.delivered / sent
        if share >= schedule.passes:
            step += 1
        elif share < schedule.falls:
            step = max(0, step - 1)
    return WarmupState(state.source, state.provider, step)


def warming(states: Iterable[WarmupState], rules: Rules) -> list[WarmupState]:
    """Return the sources that have a limit at their present step."""
    return [state for state in states if limit_of_state(state, rules) is not None]


def limit_of_state(state: WarmupState, rules: Rules) -> KeyLimit | None:
    """Return the limit at the present step of a source; None if the source has no such limit."""
    return limit_of(rules, state.source, provider_at(state.provider), state.step)


class Steps:
    """The step of each source at each provider. `version` grows with each change."""

    def __init__(self) -> None:
        self._steps: dict[tuple[str, str], int] = {}
        self.version = 0

    def replace(self, states: Iterable[WarmupState]) -> None:
        """Replace all steps. `states` has all states on the topic mail.reputation."""
        found = {(state.source, state.provider): state.step for state in states}
        if found != self._steps:
            self._steps = found
            self.version += 1

    def limit(self, rules: Rules, source: str, to: Destination) -> KeyLimit | None:
        """Return the limit of a source at a destination; None if the source has no such limit."""
        if not source or (to.is_override and not to.provider):
            return None
        step = self._steps.get((source, place_of(to.provider)), 0)
        return limit_of(rules, source, to.provider, step)
