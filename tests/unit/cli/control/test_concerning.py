"""The orders that concern a message that waits."""

from __future__ import annotations

import pytest

from cli.control.orders import recorded_line
from cli.control.topic import orders_on
from shared.events.stories import stories
from shared.topics.codec import event_id
from shared.topics.control import Order, Scope, Verb
from shared.topics.records import Event, EventType, MailEvent

ID = "01HZZZZZZZ0000000000000000"
DATA = MailEvent("shop", "M-1", recipient="a@Gmail.com", site="mx.google.com", at_ms=1)
(STORY,) = stories([Event(event_id(ID, EventType.DEFERRED, 1), EventType.DEFERRED, ID, DATA)])


@pytest.mark.parametrize(
    ("scope", "concerns"),
    [
        (Scope(mail_id=ID), True),
        (Scope(mail_id=ID.replace("H", "J")), False),
        (Scope(client="shop"), True),
        (Scope(client="bank"), False),
        (Scope(client="shop", mailing="M-1", domain="gmail.com", site="mx.google.com"), True),
        (Scope(client="shop", mailing="M-2"), False),
        (Scope(sub_client="north"), False),
        (Scope(client="shop", provider="google"), False),
        (Scope(lane="bulk"), False),
    ],
)
def test_an_order_concerns_the_messages_that_have_all_its_values(
    scope: Scope, concerns: bool
) -> None:
    order = Order(Verb.SUSPEND, scope, at_ms=1)
    assert bool(orders_on(STORY, [order], now_ms=2)) is concerns


def test_an_order_that_is_over_concerns_nothing() -> None:
    assert orders_on(STORY, [Order(Verb.CANCEL, Scope(mail_id=ID), expires_at_ms=5)], 5) == []


def test_the_line_of_an_order_cannot_reach_the_terminal() -> None:
    order = Order(Verb.CANCEL, Scope(mail_id=ID), "root", "sold out\x1b[31m", 1_700_000_000_000)
    assert recorded_line(order) == "cancel since 2023-11-14 22:13:20Z, by root: sold out\\x1b[31m"
