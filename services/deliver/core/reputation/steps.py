"""The steps at which sources warm up, as one worker knows them. Pure.

Owns: the step that a limit is made for. Guarantees: a source of which nothing is known is at its
first step, so that a process which could not read mail.reputation yet sends too little rather than
too much from a new address; a warm source of such a process overflows for that moment.
"""

from __future__ import annotations

from collections.abc import Iterable

from services.deliver.core.shaping.keys import Destination
from services.deliver.core.shaping.rules import KeyLimit, Rules
from services.deliver.core.shaping.warming import limit_of, place_of, provider_at
from shared.topics.reputation import WarmupState


def warming(states: Iterable[WarmupState], rules: Rules) -> list[WarmupState]:
    """Those of these sources that have a limit at their present step."""
    return [state for state in states if limit_of_state(state, rules) is not None]


def limit_of_state(state: WarmupState, rules: Rules) -> KeyLimit | None:
    """The limit at the present step of a source; None if it is warm, or does not warm up."""
    return limit_of(rules, state.source, provider_at(state.provider), state.step)


class Steps:
    """The step of each source at each provider. `version` changes with each change."""

    def __init__(self) -> None:
        self._steps: dict[tuple[str, str], int] = {}
        self.version = 0

    def replace(self, states: Iterable[WarmupState]) -> None:
        """Take what mail.reputation says now."""
        found = {(state.source, state.provider): state.step for state in states}
        if found != self._steps:
            self._steps = found
            self.version += 1

    def limit(self, rules: Rules, source: str, to: Destination) -> KeyLimit | None:
        """The limit of a source at a destination; None if it has none, or is warm."""
        if not source or (to.is_override and not to.provider):
            return None
        step = self._steps.get((source, place_of(to.provider)), 0)
        return limit_of(rules, source, to.provider, step)
