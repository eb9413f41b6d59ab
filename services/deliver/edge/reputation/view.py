"""A live view of mail.reputation (shared/stream/topic_follower.py), and its metrics.

While Kafka is unavailable, the view does not change. This is acceptable because the steps change
only once a day. A record that cannot be read is logged, and the previous state with the same key
stays in force.

Does not own: writing the topic (keeper.py), the limits (core/reputation/warmup.py).
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Final

from services.deliver.core.reputation.book import AUTHOR
from services.deliver.core.reputation.warmup import warming
from services.deliver.core.shaping.rules import Rules
from services.deliver.edge.control.control import OrderSource
from shared.runtime.clock import Clock
from shared.runtime.telemetry import Counters, Metric
from shared.stream.client import ClientOptions
from shared.stream.kafka_python.fetching import UndecodableRecord
from shared.stream.topic_follower import TopicFollower
from shared.topics.codec import CodecError
from shared.topics.names import REPUTATION
from shared.topics.reputation import (
    PARTITION,
    PLACE_KEY,
    ClientState,
    Place,
    State,
    WarmupState,
    decode_state,
)

log = logging.getLogger(__name__)

SUSPENDED: Final = Metric(
    "sluice_deliver_ratio_suspended",
    "Clients that are suspended at a provider now for their share of bounces, complaints or policy"
    " replies; the same in every process.",
)
WARMING: Final = Metric(
    "sluice_deliver_sources_warming",
    "Pairs of source and provider that are warming up; the same in every process.",
)
BEHIND: Final = Metric(
    "sluice_deliver_reputation_age_seconds",
    "Seconds since any process last counted results of mail; 0 before the first time.",
)


class States:
    """The states on the topic, up to the last record that was added."""

    def __init__(self) -> None:
        self._states: dict[bytes, State] = {}

    def add(self, record: Any) -> None:
        """Apply one record. If the record cannot be read, only log this fault."""
        if isinstance(record, UndecodableRecord):
            return  # the fetcher has logged the record
        key = record.key or b""
        if record.value is None:
            self._states.pop(key, None)
            return
        try:
            state = decode_state(key, record.value)
        except CodecError as error:
            fields = {"offset": record.offset, "reason": str(error)}
            log.error("a record of mail.reputation cannot be read", extra=fields)
            return
        if state is not None:
            self._states[key] = state

    def all(self) -> list[State]:
        """Return all states."""
        return list(self._states.values())

    @property
    def place(self) -> Place | None:
        """Return the place up to which events are counted, or None if no event was counted."""
        found = self._states.get(PLACE_KEY)
        return found if isinstance(found, Place) else None


class ReputationView:
    """The states on the topic. All methods may be called from any thread."""

    def __init__(self, options: ClientOptions, topic: str = REPUTATION) -> None:
        self._found: tuple[State, ...] = ()
        self._place: Place | None = None
        self._changed: Callable[[], object] = lambda: None
        self._follower = TopicFollower(options, topic, States, self._show, partition=PARTITION)

    def start(self, changed: Callable[[], object]) -> None:
        """Begin to read. After each change, `changed` is called in the thread of the reader."""
        self._changed = changed
        self._follower.start()

    def ready(self) -> bool:
        """Return whether the topic has been read to its end at least once."""
        return self._follower.is_whole()

    def fault(self) -> str:
        """Return why the view is not up to date, or "" if it is up to date."""
        return self._follower.fault()

    def place(self) -> Place | None:
        """Return the place up to which events are counted, with the time when it was written.

        The result is None if no event was ever counted.
        """
        return self._place

    def sources(self) -> list[WarmupState]:
        """Return the steps of all sources."""
        return [state for state in self._found if isinstance(state, WarmupState)]

    def clients(self) -> list[ClientState]:
        """Return the counts of all clients."""
        return [state for state in self._found if isinstance(state, ClientState)]

    def close(self) -> None:
        """Stop the thread and close its connection."""
        self._follower.close()

    def _show(self, found: States) -> None:
        self._found, self._place = tuple(found.all()), found.place
        self._changed()


def watch(
    counters: Counters, view: ReputationView, rules: Rules, orders: OrderSource, clock: Clock
) -> None:
    """Register the gauges."""

    def suspended() -> float:
        in_force = orders.orders.in_force(clock.now_ms())
        return float(sum(order.author == AUTHOR for order in in_force))

    def age_s() -> float:
        place = view.place()
        return max(0.0, (clock.now_ms() - place.at_ms) / 1000) if place is not None else 0.0

    counters.watch(SUSPENDED, suspended)
    counters.watch(WARMING, lambda: float(len(warming(view.sources(), rules))))
    counters.watch(BEHIND, age_s)
