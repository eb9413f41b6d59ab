"""The parts that count the reputation of sources and clients, made for the composition root."""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct

from services.deliver.core.shaping.rules import Rules
from services.deliver.core.sources.table import SourceTable
from services.deliver.edge.control.control import OrderSource
from services.deliver.edge.dns.resolver import Resolver
from services.deliver.edge.reputation.keeper import KeeperParts, ReputationKeeper
from services.deliver.edge.reputation.metrics import make_metrics, watch
from services.deliver.edge.reputation.providers import ProviderLookup
from services.deliver.edge.reputation.view import ReputationView
from shared.runtime.service_cli import Running
from shared.stream.kit import StreamKit


class Reputation(Struct, frozen=True):
    """The view of this process and its keeper."""

    view: ReputationView
    keeper: ReputationKeeper

    def start(self, changed: Callable[[], object]) -> None:
        """Begin; `changed` is called in another thread when the steps of sources may differ."""
        self.view.start(changed)
        self.keeper.start()

    def close(self) -> None:
        """Stop both threads."""
        self.keeper.close()
        self.view.close()


def make_reputation(
    kit: StreamKit,
    running: Running,
    rules: Rules,
    sources: SourceTable,
    orders: OrderSource,
) -> Reputation:
    """Make the parts of one process, with their metrics and their note on /ready."""
    view, clock = ReputationView(kit.options), running.clock
    addresses = {ip: one.name for one in sources.sources for ip in one.addresses}
    parts = KeeperParts(
        kit.options,
        rules,
        addresses,
        view,
        lambda: orders.orders if orders.is_current() else None,
        ProviderLookup(rules, Resolver(clock.monotonic), clock),
        clock,
        make_metrics(running.counters),
        kit.failpoints,
    )
    keeper = ReputationKeeper(parts)
    watch(running.counters, view, rules, orders, clock)
    running.health.add_note("reputation", lambda: view.fault() or keeper.fault)
    return Reputation(view, keeper)
