"""Defines the removal of a client: the choice about its mail, and how long its record is kept.

The types in this module are also part of the JSON value of the records on mail.clients. New fields
may be added if they have a default, and no field may be removed. This module also owns the orders
on mail.control by which the deliver service carries out the choice. The records and orders are
written by store/publish.py. The page docs/clients.md has a table of the effects of a removal.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from shared.topics.control import MAX_TEXT_CHARS, Order, Scope, Verb

DAY_MS: Final = 86_400_000
DEFAULT_KEPT_DAYS: Final = 30
MAX_KEPT_DAYS: Final = 3_650
# An order that is written because of a removal applies for at least this number of days. No message
# can wait for more days than this. `sluice cancel` uses the same number.
ORDER_DAYS: Final = 49
# If an order is written because of a removal, the reason of the order begins with this text.
REASON: Final = "the client was removed"


class MailChoice(StrEnum):
    """The choice about mail that was accepted and has no final event yet."""

    HOLD = "hold"  # The mail waits until the client is restored or the choice is changed.
    REFUSE = "refuse"  # The mail is refused or cancelled.
    DELIVER = "deliver"  # The mail is sent.


class Removal(Struct, frozen=True, omit_defaults=True):
    """One removal: the choice about mail, the time, the author, and the time at which the client is
    forgotten."""

    mail: MailChoice
    at_ms: int
    forget_at_ms: int
    author: str = ""
    reason: str = ""
    replaced: Order | None = None  # The operator's order that the removal replaced.

    def is_over(self, now_ms: int) -> bool:
        """Return True if the client is forgotten."""
        return self.forget_at_ms <= now_ms


_VERBS: Final = {MailChoice.REFUSE: Verb.CANCEL, MailChoice.HOLD: Verb.SUSPEND}


def order_of_removal(name: str, removal: Removal) -> Order | None:
    """Return the order by which the deliver service carries out the choice. Return None if mail is
    sent as usual."""
    verb = _VERBS.get(removal.mail)
    if verb is None:
        return None
    said = f"{REASON}: {removal.reason}" if removal.reason else REASON
    ends_ms = max(removal.at_ms + ORDER_DAYS * DAY_MS, removal.forget_at_ms)
    return Order(
        verb,
        Scope(client=name),
        removal.author,
        said[:MAX_TEXT_CHARS],
        removal.at_ms,
        ends_ms,
        by_removal=True,
    )


def is_of_removal(order: Order) -> bool:
    """Return True if this order was written because of a removal."""
    return order.by_removal and order.scope == Scope(client=order.scope.client)


def orders_at_removal(name: str, removal: Removal, before: Order | None) -> tuple[Order, ...]:
    """Return the orders to write when a client is removed, or when the choice about its mail is
    changed.

    `removal` is the removal as stored in the client's record. It contains the operator's order that
    it replaced. `before` is the last order about all mail of the client.
    """
    order = order_of_removal(name, removal)
    if order is not None:
        return (order,)
    return _without_removal(before, removal.replaced, removal)


def orders_at_return(
    removal: Removal | None, before: Order | None, by: Removal
) -> tuple[Order, ...]:
    """Return the orders to write when a client is restored, or when its name is used for a new
    client.

    `removal` is the removal of the client, or None if the client is forgotten. `by` has the author,
    the reason and the time of the new orders.
    """
    return _without_removal(before, removal.replaced if removal is not None else None, by)


def _without_removal(
    before: Order | None, replaced: Order | None, by: Removal
) -> tuple[Order, ...]:
    """Return the orders that end the order of a removal. If this order replaced an operator's order
    that still applies, return the operator's order."""
    if before is None or not is_of_removal(before) or before.is_over(by.at_ms):
        return ()
    if replaced is not None and not replaced.is_over(by.at_ms):
        return (replaced,)
    return (_end(before, by),)


def replaced_by(before: Order | None, earlier: Removal | None, now_ms: int) -> Order | None:
    """Return the operator's order that a removal replaces. This order is restored when the removal
    ends."""
    if before is not None and is_of_removal(before):
        return earlier.replaced if earlier is not None else None
    return before if before is not None and not before.is_over(now_ms) else None


def _end(order: Order, by: Removal) -> Order:
    return replace(
        order,
        verb=Verb.RESUME,
        author=by.author,
        reason=by.reason,
        at_ms=by.at_ms,
        expires_at_ms=0,
        by_removal=False,
    )
