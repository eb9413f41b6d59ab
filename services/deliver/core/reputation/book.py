"""Keeps the states of all sources and clients, and makes the orders that follow from them. Pure.

Owns: the states, the list of changed states, the orders that suspend a client at a provider. Does
not own: the changes of one state (warmup.py, ratios.py), reading and writing (edge/reputation/).
Guarantees: the mail of one client does not change the state of another client. Results are counted
for at most MAX_CLIENTS pairs of client and provider. The results of further pairs are dropped, and
the number of dropped results is counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from msgspec.structs import replace

from services.deliver.core.reputation import ratios, warmup
from services.deliver.core.reputation.facts import Fact
from services.deliver.core.reputation.ratios import thresholds_of
from services.deliver.core.shaping.rules import Rules
from services.deliver.core.shaping.warming import place_of, provider_at, schedule_of
from shared.topics.control import MAX_TEXT_CHARS, Order, Scope, Verb
from shared.topics.reputation import SLOT_MS, ClientState, State, WarmupState, key_of

MAX_CLIENTS: Final = 20_000
MAX_SOURCES: Final = 20_000
# The author of the orders that this module makes.
AUTHOR: Final = "ratio sweep"
Pair = tuple[str, str]


class Book:
    """The states of all sources and clients. Use a Book in one thread only."""

    def __init__(self, rules: Rules, addresses: Mapping[str, str], states: Iterable[State]) -> None:
        """`addresses` maps each of our addresses to the name of its source."""
        self._rules = rules
        self._addresses = addresses
        self.sources: dict[Pair, WarmupState] = {}
        self.clients: dict[Pair, ClientState] = {}
        self._changed: dict[bytes, State | None] = {}
        self._dropped = 0
        for state in states:
            if isinstance(state, WarmupState):
                self.sources[state.source, state.provider] = state
            elif isinstance(state, ClientState):
                self.clients[state.client, state.provider] = state

    def count(self, facts: Iterable[Fact], now_ms: int) -> None:
        """Count these results. A time in the future counts as the present time."""
        grouped: Counter[Fact] = Counter()
        for fact in facts:
            at_ms = min(fact.at_ms, now_ms) // SLOT_MS * SLOT_MS
            grouped[replace(fact, recipient="", at_ms=at_ms)] += 1
        for fact, number in grouped.items():
            self._count_source(fact, number, now_ms)
            if fact.provider:
                self._count_client(fact, number)

    def _count_source(self, fact: Fact, number: int, now_ms: int) -> None:
        name = self._addresses.get(fact.source, "")
        if schedule_of(self._rules, name, fact.provider) is None:
            return
        pair = name, place_of(fact.provider)
        if pair not in self.sources and len(self.sources) >= MAX_SOURCES:
            return
        before = self.sources.get(pair) or WarmupState(*pair)
        # The day of a source begins when its first result is counted, not when the slot begins.
        self._set(warmup.counted(before, fact.result, now_ms, number))

    def _count_client(self, fact: Fact, number: int) -> None:
        pair = fact.client, fact.provider
        before = self.clients.get(pair)
        if before is None:
            if len(self.clients) >= MAX_CLIENTS:
                self._dropped += number
                return
            before = ClientState(*pair)
        if fact.mail_class and before.mail_class != fact.mail_class:
            before = replace(before, mail_class=fact.mail_class)
        self._set(ratios.counted(before, fact.result, fact.at_ms, number))

    def judge(self, is_ordered: Callable[[Scope], bool], now_ms: int) -> list[Order]:
        """Update the warm-up steps of all sources, and return the orders that suspend clients.

        `is_ordered` returns whether an order with exactly this scope is in force. Such an order is
        not replaced.
        """
        for state in list(self.sources.values()):
            schedule = schedule_of(self._rules, state.source, provider_at(state.provider))
            if schedule is not None:
                self._set(warmup.judged(state, schedule, now_ms))
        found = []
        for pair, client in list(self.clients.items()):
            if ratios.is_empty(client, now_ms):
                del self.clients[pair]
                self._changed[key_of(client)] = None
            elif client.slots:
                found += self._suspend(client, is_ordered, now_ms)
        return found

    def _suspend(
        self, state: ClientState, is_ordered: Callable[[Scope], bool], now_ms: int
    ) -> list[Order]:
        held = thresholds_of(self._rules, state.client, state.mail_class, state.provider)
        over = [each for each in ratios.shares(state, held, now_ms) if each.is_exceeded]
        scope = Scope(client=state.client, provider=state.provider)
        if not over or is_ordered(scope):
            return []
        self._set(ratios.suspended(state, now_ms))
        reason = "; ".join(map(str, over))[:MAX_TEXT_CHARS]
        ends_ms = now_ms + held.suspend_s * 1000
        return [Order(Verb.SUSPEND, scope, AUTHOR, reason, now_ms, ends_ms)]

    def _set(self, state: WarmupState | ClientState) -> None:
        if isinstance(state, WarmupState):
            pair = state.source, state.provider
            is_new, self.sources[pair] = self.sources.get(pair) != state, state
        else:
            pair = state.client, state.provider
            is_new, self.clients[pair] = self.clients.get(pair) != state, state
        if is_new:
            self._changed[key_of(state)] = state

    def take_dropped(self) -> int:
        """Return how many results were dropped since the last call because of MAX_CLIENTS."""
        found, self._dropped = self._dropped, 0
        return found

    def take_changed(self) -> dict[bytes, State | None]:
        """Return the states that changed since the last call, by key; None for a deleted state."""
        found, self._changed = self._changed, {}
        return found
