"""Finds the operator's order that applies to a message. Checks that orders are recent. Pure.

Owns: the choice of the order that applies. If several orders concern a message, the order with the
strongest verb applies (cancel, bounce, expire, suspend, reroute). Among orders with the same verb,
the order with the narrower scope applies, and among equal scopes the later order. Does not own: the
effects of an order (effects.py), the source of the orders (edge/control/follower.py).

The orders are indexed by the fields of their scopes. So a message costs one look-up per combination
of fields in use. The number of orders does not matter. If there are no orders, a message costs no
look-up.

concerning() finds the orders about the mail of a sender to a destination. The caller may leave
fields open. For example, if the caller gives no client, the orders about the mail of all clients
are found. The caller never specifies a sub-client or a lane. So an order concerns all mail of this
sender to this destination, a part of this mail, or none of it. Orders about single messages are
left out, because they do not concern a destination.

Guarantees: no attempt begins before the orders have been read for the first time; otherwise mail
that an operator stopped would be sent. Later, no attempt begins while the last confirmation of the
orders is older than FRESH_S, so a process that was paused does not send mail that was cancelled
during the pause. After GIVE_UP_TRIES failed tries, mail is sent according to the orders that were
known before, because a broker that is unavailable for one small topic must not stop all mail.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import product
from typing import Final

from msgspec import Struct

from shared.topics.control import FIELDS, Order, Scope, Verb
from shared.topics.records import Envelope

# More orders than this are a mistake, because one scope can cover any number of messages.
MAX_ORDERS: Final = 100_000
_STRENGTH: Final = {verb: place for place, verb in enumerate(Verb)}
_LANE_ONLY: Final = ("lane",)
# The values of the mail for each field of a scope; a field that is missing here is open.
_Values = Mapping[str, tuple[str, ...]]
FRESH_S: Final = 5.0
# This limit is a number of tries and not a time, because a pause of the process is no fault of
# Kafka.
GIVE_UP_TRIES: Final = 4


class Place(Struct, frozen=True):
    """The destination of a message: the names of its site and of its servers, and its provider."""

    sites: tuple[str, ...] = ()
    provider: str = ""


NOWHERE: Final = Place()


class Orders:
    """An immutable index of the orders in force. After a change, a new index is made."""

    def __init__(self, orders: Iterable[Order] = ()) -> None:
        self._index: dict[tuple[str, ...], dict[tuple[str, ...], Order]] = {}
        self._count = 0
        # For each mail id of a held message, the time of its last release. An order may still
        # suspend a released message.
        self._released: dict[str, int] = {}
        for order in orders:
            if order.verb is Verb.RELEASE:
                self._released[order.scope.mail_id] = order.at_ms
            if order.verb in (Verb.RESUME, Verb.RELEASE):
                continue
            given = order.scope.given()
            names = tuple(name for name, _ in given)
            self._index.setdefault(names, {})[tuple(value for _, value in given)] = order
            self._count += 1
        # If `is_any` is False, find() returns None for every message. `is_any` is an attribute and
        # not a method, because it is read several times per message.
        self.is_any = bool(self._index)

    def __len__(self) -> int:
        return self._count

    def find(self, envelope: Envelope, place: Place, now_ms: int) -> Order | None:
        """Return the order that applies to this message; None if the message is sent as usual."""
        if not self._index:
            return None
        best: Order | None = None
        for order in self._concerning(envelope, place):
            if not order.is_over(now_ms) and (best is None or rank_of(order) < rank_of(best)):
                best = order
        return best

    def suspends_lane(self, lane: str, now_ms: int) -> bool:
        """Return whether all mail of this lane is suspended, so that the lane need not be read."""
        order = self._index.get(_LANE_ONLY, {}).get((lane,))
        return order is not None and order.verb is Verb.SUSPEND and not order.is_over(now_ms)

    def released_at_ms(self, mail_id: str) -> int:
        """Return the time at which an operator last released this message; 0 if no operator did."""
        return self._released.get(mail_id, 0)

    def in_force(self, now_ms: int) -> list[Order]:
        """Return the orders that have not ended."""
        found = (order for orders in self._index.values() for order in orders.values())
        return [order for order in found if not order.is_over(now_ms)]

    def has(self, scope: Scope, now_ms: int) -> bool:
        """Return whether an order with exactly this scope is in force."""
        given = scope.given()
        orders = self._index.get(tuple(name for name, _ in given), {})
        order = orders.get(tuple(value for _, value in given))
        return order is not None and not order.is_over(now_ms)

    def _concerning(self, envelope: Envelope, place: Place) -> Iterator[Order]:
        values = {
            "client": (envelope.client,),
            "mailing": (envelope.mailing_id,),
            "sub_client": (envelope.sub_client,),
            "domain": (envelope.recipient.rpartition("@")[2].lower(),),
            "site": place.sites,
            "provider": (place.provider,),
            "lane": (envelope.lane,),
            "mail_id": (envelope.mail_id,),
        }
        for names, orders in self._index.items():
            for key in product(*(values[name] for name in names)):
                order = orders.get(key)
                if order is not None:
                    yield order


class Freshness:
    """Records when the orders were last read. `at` is a time in monotonic seconds."""

    def __init__(self) -> None:
        self._confirmed_at: float | None = None
        self._failed_tries = 0

    def confirm(self, at: float) -> None:
        """Record that all orders written until this time are known."""
        self._confirmed_at = at
        self._failed_tries = 0

    def count_failure(self) -> None:
        """Count a failed try to read the orders."""
        self._failed_tries += 1

    @property
    def was_read(self) -> bool:
        """Return whether the orders have been read at least once."""
        return self._confirmed_at is not None

    def is_current(self, at: float) -> bool:
        """Return whether the orders are recent enough to begin an attempt."""
        if self._confirmed_at is None:
            return False
        return at - self._confirmed_at <= FRESH_S or self._failed_tries >= GIVE_UP_TRIES


def rank_of(order: Order) -> tuple[int, int, int]:
    """Return the rank of an order.

    If several orders concern a message, the order with the lowest rank decides.
    """
    return _STRENGTH[order.verb], -len(order.scope.given()), -order.at_ms


def scope_fault(scope: Scope) -> str:
    """Return the fault of a scope; "" if the scope is valid."""
    if not scope.given():
        return "give at least one of: " + ", ".join(FIELDS)
    if (scope.mailing or scope.sub_client) and not scope.client:
        return "a mailing and a sub-client belong to a client: give the client too"
    return ""


class Concerning(Struct, frozen=True):
    """The orders about some mail, sorted by rank. The first order decides."""

    whole: tuple[Order, ...] = ()  # Orders about all of the mail.
    part: tuple[Order, ...] = ()  # Orders about a part of the mail, such as one client's mail.


def concerning(orders: Iterable[Order], mail: Scope, place: Place, now_ms: int) -> Concerning:
    """Return the orders in force about this mail, whose destination is `place`.

    `mail` has the known fields; an open field is "". If `place` has no sites, the destination is
    unknown.
    """
    values = _values(mail, place)
    found = [each for each in orders if not (each.is_over(now_ms) or each.scope.mail_id)]
    found = sorted((each for each in found if _agrees(each.scope, values)), key=rank_of)
    return Concerning(
        tuple(each for each in found if _is_whole(each.scope, values)),
        tuple(each for each in found if not _is_whole(each.scope, values)),
    )


def _values(mail: Scope, place: Place) -> _Values:
    values: dict[str, tuple[str, ...]] = {name: (value,) for name, value in mail.given()}
    if place.sites:
        values["site"] = place.sites
    if place.sites or place.provider:
        values["provider"] = (place.provider,)
    return values


def _agrees(scope: Scope, values: _Values) -> bool:
    return all(name not in values or value in values[name] for name, value in scope.given())


def _is_whole(scope: Scope, values: _Values) -> bool:
    return all(name in values for name, _ in scope.given())
