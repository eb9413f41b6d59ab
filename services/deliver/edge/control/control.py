"""Finds the operators' order that applies to a message, and the target of the order.

An order by site or provider applies only after the domain was resolved. Owns: the remembered
destination of each domain. Does not own: the orders (follower.py), the choice among several orders
(core/control/orders.py), the effect of an order (core/control/effects.py).
"""

from __future__ import annotations

from typing import Final, Protocol

from services.deliver.core.control.orders import NOWHERE, Orders, Place
from services.deliver.core.routing.sites import Site, site_of_target
from shared.runtime.clock import Clock
from shared.topics.control import Order, Verb
from shared.topics.records import Envelope

# The largest number of remembered domains. A process sends to fewer domains during the life of a
# pool. A domain that was forgotten is resolved again.
MAX_DOMAINS: Final = 50_000


class OrderSource(Protocol):
    """The orders that the follower of mail.control knows at present."""

    orders: Orders

    def is_current(self) -> bool:
        """Return whether the orders are recent enough for a message to begin."""
        ...


class NoOrders:
    """A source without orders."""

    orders = Orders()

    def is_current(self) -> bool:
        """Return whether the orders are recent enough for a message to begin."""
        return True


class Control:
    """The orders in force. If no order is in force, a query for a message costs almost nothing."""

    def __init__(self, source: OrderSource, clock: Clock) -> None:
        self._source = source
        self._clock = clock
        self._places: dict[str, Place] = {}
        self._rerouted: dict[str, Site] = {}

    def of(self, envelope: Envelope) -> Order | None:
        """Return the order that applies to this message, or None if no order applies."""
        orders = self._source.orders
        if not orders.is_any:
            return None
        place = self._places.get(domain_of(envelope), NOWHERE)
        return orders.find(envelope, place, self._clock.now_ms())

    @property
    def has_orders(self) -> bool:
        """Return True if any order is in force that may apply to a message."""
        return self._source.orders.is_any

    def is_held(self, envelope: Envelope) -> bool:
        """Return True if the message is held for an operator.

        A message is not held if it was released after the beginning of the hold.
        """
        since = envelope.held_since_ms
        return since > 0 and self._source.orders.released_at_ms(envelope.mail_id) < since

    def target(self, envelope: Envelope) -> str:
        """Return the host:port to which an order sends this message.

        The result is "" if no order changes the destination.
        """
        if not self._source.orders.is_any:
            return ""
        found = self.of(envelope)
        return found.target if found is not None and found.verb is Verb.REROUTE else ""

    def site_of(self, envelope: Envelope) -> Site | None:
        """Return the site to which an order sends this message.

        The result is None if no order changes the destination.
        """
        if not self._source.orders.is_any:
            return None
        target = self.target(envelope)
        if not target:
            return None
        found = self._rerouted.get(target)
        if found is None:
            if len(self._rerouted) >= MAX_DOMAINS:
                self._rerouted.clear()
            found = self._rerouted[target] = site_of_target(target)
        return found

    def resolved(self, domain: str, site: Site, provider: str = "") -> None:
        """Remember the destination of mail for a domain."""
        found = self._places.get(domain)
        if found is not None and found.sites[0] == site.name and found.provider == provider:
            return
        if len(self._places) >= MAX_DOMAINS:
            self._places.clear()
        self._places[domain] = Place((site.name, *(host.name for host in site.hosts)), provider)

    def provider_of(self, envelope: Envelope) -> str:
        """Return the provider of a message's destination.

        The result is "" if the destination has no provider or is not resolved yet.
        """
        return self._places.get(domain_of(envelope), NOWHERE).provider

    def suspends_lane(self, lane: str) -> bool:
        """Return True if the whole lane is suspended. Such a lane need not be read."""
        return self._source.orders.suspends_lane(lane, self._clock.now_ms())


def domain_of(envelope: Envelope) -> str:
    """Return the domain by which the destination of a message is remembered."""
    return envelope.recipient.rpartition("@")[2].lower()


def no_control(clock: Clock) -> Control:
    """Return a control without orders, under which all mail is sent as usual."""
    return Control(NoOrders(), clock)
