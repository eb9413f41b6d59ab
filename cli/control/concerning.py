"""Which orders in force concern a message, judged by its events. Pure.

An order that names a provider or a lane is left out: the events do not say them.
"""

from __future__ import annotations

from collections.abc import Iterable

from shared.events.stories import Story
from shared.topics.control import Order


def orders_on(story: Story, orders: Iterable[Order], now_ms: int) -> list[Order]:
    """Return the orders in force whose scope is known to include the message."""
    known = {
        "client": story.client,
        "mailing": story.mailing_id,
        "sub_client": story.sub_client,
        "domain": story.recipient.rpartition("@")[2].lower(),
        "site": next((each.data.site for each in reversed(story.events) if each.data.site), ""),
        "mail_id": story.mail_id,
    }
    return [
        order
        for order in orders
        if not order.is_over(now_ms)
        and all(known.get(name, "") == value for name, value in order.scope.given())
    ]
