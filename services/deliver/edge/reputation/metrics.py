"""The metrics of the reputation of sources and clients."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from services.deliver.core.reputation.book import AUTHOR
from services.deliver.core.reputation.warmup import warming
from services.deliver.core.shaping.rules import Rules
from services.deliver.edge.control.control import OrderSource
from services.deliver.edge.reputation.view import ReputationView
from shared.runtime.clock import Clock
from shared.runtime.telemetry import Counter, Counters, Metric

SUSPENSIONS: Final = Metric(
    "sluice_deliver_ratio_suspensions",
    "Clients suspended at a provider for their share of bounces, complaints or policy replies.",
    ("provider",),
)
SUSPENDED: Final = Metric(
    "sluice_deliver_ratio_suspended",
    "Clients that are suspended at a provider for such a share now; the same in every process.",
)
WARMING: Final = Metric(
    "sluice_deliver_sources_warming",
    "Sources and providers at which they are not yet warm; the same in every process.",
)
BEHIND: Final = Metric(
    "sluice_deliver_reputation_age_seconds",
    "The time since results of mail were last counted by any process; 0 before the first time.",
)
UNREADABLE: Final = Metric(
    "sluice_deliver_reputation_unreadable", "Events whose result could not be read."
)
DROPPED: Final = Metric(
    "sluice_deliver_reputation_dropped",
    "Results that were not counted, because too many clients and providers are counted.",
)


class ReputationMetrics(Struct, frozen=True):
    """The counters of a keeper."""

    suspensions: Counter
    unreadable: Counter
    dropped: Counter


def make_metrics(counters: Counters) -> ReputationMetrics:
    """Register the counters."""
    found = (counters.counter(each) for each in (SUSPENSIONS, UNREADABLE, DROPPED))
    return ReputationMetrics(*found)


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
