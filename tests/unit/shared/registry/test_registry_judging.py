"""A message is judged and counted in the same way by the front door and by validate."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from services.ingest.core.front_door.policy import Arrival, Peer, judge_arrival
from services.validate.core.lanes import Lanes
from services.validate.core.verdict import Policy, Refused, judge
from shared.mail.headers import scan
from shared.registry.client import Client, Code
from shared.topics.records import Envelope, MailEvent, Origin

CLIENT = Client(
    "acme",
    "news.acme.example",
    "back@acme.example",
    "M-1",
    {"spring": Code("M-2", "shop"), "old": Code("M-3", "shop", active=False)},
)
SENDER, RECIPIENT, AT_MS = "news@news.acme.example", "max@r.example", 1_000
MAX_BYTES = 307_200


def content(*lines: str) -> bytes:
    head = (f"From: {SENDER}", f"To: {RECIPIENT}", "Message-ID: <1@acme>", *lines)
    return ("\r\n".join(head) + "\r\n\r\nx").encode()


def by_smtp(message: bytes) -> MailEvent:
    arrival = Arrival("01M", SENDER, RECIPIENT, scan(message), AT_MS)
    found = judge_arrival(Peer(CLIENT, "192.0.2.7", MAX_BYTES), arrival)
    assert isinstance(found, MailEvent)
    return found


def by_kafka(message: bytes) -> MailEvent:
    facts = scan(message)
    origin = Origin("mail.intake.acme", 0, 1)
    envelope = Envelope("01M", "acme", SENDER, RECIPIENT, facts.message_id, AT_MS, origin, facts)
    found = judge(envelope, CLIENT, Policy(MAX_BYTES, Lanes({})), AT_MS)
    assert isinstance(found, Refused)
    return found.event


@pytest.mark.parametrize(
    ("lines", "mailing"),
    [
        ((), ("M-1", "")),
        (("X-bm-mailing: spring",), ("M-2", "shop")),
        (("X-bm-mailing: old",), ("M-1", "")),
        (("X-bm-mailing: spring", "X-bm-mailing: spring"), ("M-1", "")),
        (("Cc: other@r.example", "Return-Path: <a@b.example>"), ("M-1", "")),
        (("To: second@r.example",), ("M-1", "")),
    ],
)
def test_both_ways_tell_a_refusal_alike(lines: tuple[str, ...], mailing: tuple[str, str]) -> None:
    message = content(*lines)  # without a Subject, so that it is always refused
    told = by_smtp(message)
    assert (told.mailing_id, told.sub_client) == mailing
    assert replace(told, origin=None) == replace(by_kafka(message), origin=None)
