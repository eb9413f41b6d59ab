"""Finds the orders that concern the mail of a sender to a destination. Pure.

The question may leave things open: without a client it is about the mail of all clients, and it
never names a sub-client or a lane. So an order concerns all of the mail, a part of it, or none.
Orders on single messages are left out: they are no answer to a question about a destination.

Does not own: which order counts for one message (orders.py), by whose ranks these are sorted.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from msgspec import Struct

from services.deliver.core.control.orders import Place, rank_of
from shared.topics.control import Order, Scope

# The values that the mail has in a field of a scope; a field that is not here is open.
_Values = Mapping[str, tuple[str, ...]]


class Concerning(Struct, frozen=True):
    """Orders in force, the one that counts first."""

    whole: tuple[Order, ...] = ()  # on all of the mail
    part: tuple[Order, ...] = ()  # on some of it, such as that of one client


def concerning(orders: Iterable[Order], mail: Scope, place: Place, now_ms: int) -> Concerning:
    """Return the orders in force on this mail, of which `place` is where it goes.

    `mail` says what is known of it, "" for what is open. Without sites in `place` the destination
    is not known.
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
