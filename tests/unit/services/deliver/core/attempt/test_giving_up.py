"""What goes back to the client of a message that deliver gave up."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from services.deliver.core.attempt.giving_up import MAX_HEADER_BYTES, header_of
from services.deliver.core.attempt.plan import Plan, Timing, expire, plan
from services.deliver.core.attempt.results import Bounced, Deferred, Delivered, Outcome
from services.deliver.core.control.effects import follow
from services.deliver.edge.attempt.attempt_records import records_of
from shared.topics import ids, names
from shared.topics.codec import decode_returned
from shared.topics.control import Order, Scope, Verb
from shared.topics.records import Envelope, Facts, Origin, ReturnAddressKind, Returned

NOW = 1_700_000_000_000
CONTENT = b"Subject: Sale\r\nTo: b@example.com\r\n\r\nHello\r\n"
ENVELOPE = Envelope(
    mail_id=ids.derive("mail.intake.shop", 0, 1, NOW),
    client="shop",
    sender="a@news.shop.example",
    recipient="b@example.com",
    message_id="<1@shop>",
    received_at_ms=NOW - 5_000,
    origin=Origin("mail.intake.shop", 0, 1),
    facts=Facts(size_bytes=300),
    mailing_id="spring",
    sub_client="de",
    lane="default",
    expires_at_ms=NOW + 86_400_000,
)
BOUNCED = Bounced("550 5.1.1 unknown", "5.1.1", "hard", "unknown", "mx", "s", "", dispatched=True)
DEFERRED = Deferred("451 later", "4.7.1", "soft", "later", "mx", "s", "", dispatched=True)
DELIVERED = Delivered("250 ok", "2.0.0", "mx", "s", "")
SOON = replace(ENVELOPE, expires_at_ms=NOW + 1)


def returned(steps: Plan, envelope: Envelope = ENVELOPE) -> list[tuple[Returned, bytes]]:
    found = []
    for each in records_of(steps, envelope, CONTENT):
        if each.topic == names.RETURNED:
            assert (each.key, each.partition) == (b"shop", None)
            found.append((decode_returned(each.value, each.headers), each.value or b""))
    return found


def after(outcome: Outcome, envelope: Envelope = ENVELOPE) -> Plan:
    return plan(envelope, outcome, Timing(NOW))


def ordered(verb: Verb) -> Plan:
    order = Order(verb, Scope(client="shop"), "ops", "wrong list", NOW)
    return follow(ENVELOPE, order, Timing(NOW))


def test_a_bounce_goes_back_with_the_reply_and_the_header_of_the_message() -> None:
    ((found, header),) = returned(after(BOUNCED))
    assert header == b"Subject: Sale\r\nTo: b@example.com\r\n"
    assert found == Returned(
        return_id=ids.derive(f"returned/{ENVELOPE.mail_id}", 0, 0, NOW),
        client="shop",
        recipient="b@example.com",
        sender="a@news.shop.example",
        received_at_ms=NOW,
        address_kind=ReturnAddressKind.UNDELIVERED,
        mailing_id="spring",
        sub_client="de",
        mail_id=ENVELOPE.mail_id,
        reason="unknown",
        status="5.1.1",
        kind="hard",
        reply="550 5.1.1 unknown",
        site="mx",
        submitted_at_ms=NOW - 5_000,
    )


@pytest.mark.parametrize(
    ("steps", "kinds"),
    [
        (after(BOUNCED), ["hard"]),
        (expire(ENVELOPE, NOW), ["expired"]),
        (after(DEFERRED, SOON), ["expired"]),
        (after(replace(DEFERRED, in_doubt=True), SOON), ["expired"]),
        (ordered(Verb.BOUNCE), [""]),
        (ordered(Verb.EXPIRE), ["expired"]),
        (ordered(Verb.CANCEL), []),
        (ordered(Verb.SUSPEND), []),
        (after(DEFERRED), []),
        (after(DELIVERED), []),
    ],
)
def test_each_final_failure_goes_back_once_and_nothing_else(steps: Plan, kinds: list[str]) -> None:
    assert [each.kind for each, _ in returned(steps)] == kinds


def test_a_report_that_is_forwarded_is_not_returned_itself() -> None:
    forwarded = replace(ENVELOPE, forwards="0" * 26)
    assert returned(after(BOUNCED, forwarded), forwarded) == []
    assert returned(expire(forwarded, NOW), forwarded) == []


@pytest.mark.parametrize(
    ("content", "header"),
    [
        (CONTENT, b"Subject: Sale\r\nTo: b@example.com\r\n"),
        (b"Subject: x\r\n\r\n", b"Subject: x\r\n"),
        (b"no header end", b"no header end"),
        (b"", b""),
        (b"A: b\r\n" * 10_000, b"A: b\r\n" * (MAX_HEADER_BYTES // 6)),
        (b"x" * 40_000, b"x" * MAX_HEADER_BYTES),
    ],
)
def test_the_header_is_kept_and_bounded(content: bytes, header: bytes) -> None:
    assert header_of(content) == header
