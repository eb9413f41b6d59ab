"""The front door's replies to MAIL, RCPT and DATA."""

import pytest

from services.ingest.core.front_door.policy import (
    Arrival,
    Peer,
    accepted_reply,
    judge_arrival,
    judge_recipient,
    judge_sender,
    judge_unfit,
    refusal_reply,
)
from shared.mail.headers import scan
from shared.registry.client import Client, Code
from shared.smtp.reply import Reply, encode_reply
from shared.topics.records import Facts, MailEvent, Message

CLIENT = Client(
    "acme",
    "news.acme.example",
    "back@acme.example",
    "M-1",
    {"spring": Code("M-2", "shop"), "old": Code("M-3", "shop", active=False)},
)
PEER = Peer(CLIENT, "192.0.2.7", 307_200)
GOOD = (
    b"From: News <news@news.acme.example>\r\nTo: max@r.example\r\nSubject: Hello\r\n"
    b"Message-ID: <1@news.acme.example>\r\n\r\nHello\r\n"
)


def arrival(content: bytes, sender: str = "news@news.acme.example") -> Arrival:
    return Arrival("01M", sender, "max@r.example", scan(content), 1_000)


@pytest.mark.parametrize(
    ("sender", "starts"),
    [
        ("news@news.acme.example", ""),
        ("news@NEWS.acme.example", ""),
        ("", "550 5.7.1 R9:"),
        ("news@acme.example", "550 5.7.1 R10:"),
        ("news@sub.news.acme.example", "550 5.7.1 R10:"),
        ("news@[192.0.2.7]", "550 5.7.1 R10:"),
    ],
)
def test_the_envelope_sender_is_judged_at_mail(sender: str, starts: str) -> None:
    refusal = judge_sender(CLIENT, sender)
    assert str(refusal or "").startswith(starts)
    assert bool(refusal) == bool(starts)


@pytest.mark.parametrize(
    ("address", "taken", "starts"),
    [
        ("max@r.example", 0, ""),
        ("max@r.example", 1, "452 4.5.3 R3:"),
        ("max@[192.0.2.7]", 0, "550 5.1.3 R3:"),
        ("postmaster", 0, "550 5.1.3 R3:"),
        ("max@localhost", 0, "550 5.1.3 R3:"),
    ],
)
def test_the_recipient_is_judged_at_rcpt(address: str, taken: int, starts: str) -> None:
    refusal = judge_recipient(address, taken)
    assert str(refusal or "").startswith(starts)
    assert bool(refusal) == bool(starts)


def test_a_good_message_gets_an_envelope_with_its_peer_as_origin() -> None:
    found = judge_arrival(PEER, arrival(GOOD))
    assert isinstance(found, Message)
    envelope = found.envelope
    assert (envelope.mail_id, envelope.client, envelope.sender, envelope.recipient) == (
        "01M",
        "acme",
        "news@news.acme.example",
        "max@r.example",
    )
    assert (envelope.origin.topic, envelope.origin.peer) == ("", "192.0.2.7")
    assert str(accepted_reply(envelope.mail_id)) == "250 2.0.0 Ok: queued as 01M"


def test_every_broken_rule_stands_in_the_reply_and_in_the_event() -> None:
    content = GOOD.replace(b"Subject: Hello", b"Subject:").replace(
        b"To:", b"Cc: a@b.example\r\nTo:"
    )
    found = judge_arrival(PEER, arrival(content))
    assert isinstance(found, MailEvent)
    assert [rule.rule for rule in found.rules] == ["R5", "R6"]
    lines = encode_reply(refusal_reply(found.rules)).decode().splitlines()
    assert lines[0].startswith("550-5.6.0 R5 (5.6.0): ")
    assert lines[1].startswith("550 5.6.0 R6 (5.6.0): ")


def test_what_the_client_wrote_cannot_break_a_reply() -> None:
    content = GOOD.replace(b"<1@news", b"<1\xff\r\n \x1b1 @news")
    found = judge_arrival(PEER, arrival(content))
    assert isinstance(found, MailEvent)
    data = encode_reply(refusal_reply(found.rules))
    assert data.isascii()
    assert data.count(b"\r\n") == len(found.rules)
    assert all(len(line) <= 512 for line in data.splitlines())


@pytest.mark.parametrize(
    ("code", "cell"),
    [
        (b"", ("M-1", "")),
        (b"X-bm-mailing: spring\r\n", ("M-2", "shop")),
        (b"X-bm-mailing: old\r\n", ("M-1", "")),
        (b"X-bm-mailing: what\r\n", ("M-1", "")),
    ],
)
def test_a_refusal_is_told_under_the_mailing_of_an_active_code(
    code: bytes, cell: tuple[str, str]
) -> None:
    found = judge_arrival(PEER, arrival(code + GOOD.replace(b"Subject: Hello", b"Subject:")))
    assert isinstance(found, MailEvent)
    assert (found.mailing_id, found.sub_client) == cell


def test_content_that_is_too_large_breaks_r1_and_broken_line_ends_are_unreadable() -> None:
    too_large = Arrival("01M", "a@b.example", "max@r.example", Facts(307_201), 0)
    refusal = Reply(552, "5.3.4", "Message too large")
    assert judge_unfit(PEER, too_large, refusal).rules[0].rule == "R1"
    bare = Arrival("01M", "a@b.example", "max@r.example", Facts(10), 0)
    told = judge_unfit(PEER, bare, Reply(550, "5.6.0", "a bare LF"))
    assert (told.rules[0].rule, told.rules[0].reason) == ("unreadable", "a bare LF")
