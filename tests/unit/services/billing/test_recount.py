"""Counting a second time finds every difference."""

from __future__ import annotations

from datetime import UTC

from services.billing.core.cells import Cell, encode_cell
from services.billing.core.month import Months
from services.billing.core.recount import Difference, Recount
from services.billing.core.usage import count
from shared.audit.conservation import Doubles
from shared.topics.records import EventType
from tests.support.billing.records import event

UTC_MONTHS = Months(UTC)


def test_a_recount_names_every_cell_that_differs() -> None:
    again = Recount(UTC_MONTHS)
    again.add(event(EventType.DELIVERED))
    live = {
        encode_cell(Cell("shop", "news", "", "delivered", "15")): 2,
        encode_cell(Cell("shop", "news", "", "billed", "15")): 1,
    }
    assert again.differences("2026-11", live) == [
        Difference("2026-11", "shop", "news", "", "billed", 0, 1, "15"),
        Difference("2026-11", "shop", "news", "", "delivered", 1, 2, "15"),
    ]


def test_a_recount_counts_a_mail_with_two_final_events_once() -> None:
    again = Recount(UTC_MONTHS)
    records = [
        event(EventType.DELIVERED, first_dispatch=True),
        event(EventType.BOUNCED),
        event(EventType.DELIVERED, first_dispatch=True),
        event(EventType.DEFERRED),
    ]
    for record in records:
        again.add(record)
    mail_id = bytes(16)
    for record in records:
        again.discount(record, Doubles({mail_id: 3}, {mail_id: 2}))
    live = {name: number for _, name, number in count(records, UTC_MONTHS).increments()}
    assert [
        (each.counter, each.recounted, each.live) for each in again.differences("2026-11", live)
    ] == [("billed", 1, 2), ("bounced", 0, 1), ("delivered", 1, 2)]


def test_only_doubled_mails_are_discounted() -> None:
    again = Recount(UTC_MONTHS)
    record = event(EventType.DELIVERED, first_dispatch=True)
    again.add(record)
    for _ in range(2):
        again.discount(record, Doubles({bytes(15) + b"x": 2}, {}))
    live = {name: number for _, name, number in count([record], UTC_MONTHS).increments()}
    assert again.differences("2026-11", live) == []
