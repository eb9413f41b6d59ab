"""Letters that break rules, at least two for each rule, as careless or malicious senders do.

The rules listed here are written by hand from the submission contract, never computed.
"""

from __future__ import annotations

from tests.messages import building as b
from tests.messages import texts as t
from tests.messages.building import Letter, lines, message, multipart, standard

OURS = "newsletter@news.shop.example"


def _with(number: int, *extra: str) -> bytes:
    return message(lines(standard("Order", number), *extra), t.PLAIN)


def _changed(number: int, old: str, new: str) -> bytes:
    """The standard message with one part of its header changed."""
    head = standard("Order", number)
    assert head.count(old) == 1, old
    return message(head.replace(old, new), t.PLAIN)


def _sent(number: int, sender: str = b.SHOP, to: str = b.MAX) -> bytes:
    return message(standard("Order", number, sender, to), t.PLAIN)


def _id(number: int) -> str:
    return f"Message-ID: <20260303081500.{number:05d}@news.shop.example>"


def size_and_id() -> list[Letter]:
    """R1 and R2."""
    picture = b.file_body("image/png", "foto.png", t.noise_png(250_000, 9))
    album = multipart("mixed", "=_album", [t.PLAIN, picture])
    return [
        Letter("r1-one-byte-too-many", t.sized(standard("Katalog", 301), 307_201), ("R1",)),
        Letter("r1-picture", message(standard("Ihre Fotos", 302), album), ("R1",)),
        Letter("r2-missing", _changed(303, _id(303) + "\n", ""), ("R2",)),
        Letter("r2-two", _with(304, "Message-ID: <second@news.shop.example>"), ("R2",)),
        Letter("r2-no-brackets", _changed(305, _id(305), "Message-ID: 305@shop.example"), ("R2",)),
        Letter("r2-no-right", _changed(306, _id(306), "Message-ID: <20260303.306>"), ("R2",)),
        Letter("r2-empty", _changed(307, _id(307), "Message-ID:"), ("R2",)),
    ]


def recipients() -> list[Letter]:
    """R3."""
    two = "max.muster@kunde.example, erika@kunde.example"
    group = "Undisclosed recipients:;"
    evil = "=?utf-8?Q?max=40kunde.example?="
    no_to = _changed(314, f"To: {b.MAX}\n", "")
    other = "erika@kunde.example"
    return [
        Letter("r3-two-addresses", _sent(311, to=two), ("R3",)),
        Letter("r3-two-headers", _with(312, "To: erika@kunde.example"), ("R3",)),
        Letter("r3-group", _sent(313, to=group), ("R3",)),
        Letter("r3-missing", no_to, ("R3",)),
        Letter("r3-encoded-address", _sent(315, to=evil), ("R3",), note="RFC 2047, 5 (3)"),
        Letter("r3-no-domain", _sent(316, to="Max Muster <max.muster>"), ("R3",)),
        Letter("r3-envelope-differs", _sent(317), ("R3",), envelope_from=OURS, rcpt=other),
        Letter("r3-ip-literal", _sent(318, to="max@[192.0.2.1]"), ("R3",)),
    ]


def senders() -> list[Letter]:
    """R4; without an envelope the sender is the From address, so R10 is broken too."""
    sub = "newsletter@mail.news.shop.example"
    alike = "newsletter@news.shop.example.evil.example"
    two = f"{OURS}, chef@news.shop.example"
    bank = standard("Ihr Konto", 325, b.SHOP)
    return [
        Letter("r4-sub-domain", _sent(321, sub), ("R4", "R10")),
        Letter("r4-parent-domain", _sent(322, "newsletter@shop.example"), ("R4", "R10")),
        Letter("r4-look-alike", _sent(323, alike), ("R4", "R10")),
        Letter("r4-two-addresses", _sent(324, two), ("R4",)),
        Letter("r4-of-another-client", message(bank, t.PLAIN), ("R4", "R10"), client="bank"),
        Letter("r4-two-headers", _with(326, "From: boss@news.shop.example"), ("R4",)),
        Letter("r4-unquoted-at", _sent(327, f"chef@bank.example <{OURS}>"), ("R4",)),
        Letter("r4-missing", _changed(328, f"From: {b.SHOP}\n", ""), ("R4",)),
    ]


def copies_subject_reply() -> list[Letter]:
    """R5, R6 and R7."""
    subject = "Subject: Order"
    reply = ("Reply-To: a@shop.example", "Reply-To: b@shop.example")
    empty_word = "Subject: =?utf-8?B??="
    invisible = "Subject: \u200b\u2060 \u00ad"
    return [
        Letter("r5-cc", _with(331, "Cc: Erika <erika@kunde.example>"), ("R5",)),
        Letter("r5-empty-bcc", _with(332, "Bcc:"), ("R5",)),
        Letter("r5-odd-case", _with(333, "cC: erika@kunde.example"), ("R5",)),
        Letter("r6-missing", _changed(341, "\n" + subject, ""), ("R6",)),
        Letter("r6-empty", _changed(342, subject, "Subject:"), ("R6",)),
        Letter("r6-empty-encoded-word", _changed(343, subject, empty_word), ("R6",)),
        Letter("r6-invisible", _changed(344, subject, invisible), ("R6",)),
        Letter("r6-two", _with(345, "Subject: Another"), ("R6",)),
        Letter("r7-two", _with(351, *reply), ("R7",)),
        Letter("r7-two-alike", _with(352, reply[0], reply[0].upper()), ("R7",)),
    ]


def codes() -> list[Letter]:
    """R8."""
    two = ("X-bm-mailing: SPRING26", "X-bm-mailing: WINTER25")
    bank = lines(standard("Kontoauszug", 365, b.BANK), two[0])
    return [
        Letter("r8-unknown", _with(361, "X-bm-mailing: AUTUMN19"), ("R8",)),
        Letter("r8-two", _with(362, *two), ("R8",)),
        Letter("r8-empty", _with(363, "X-bm-mailing:"), ("R8",)),
        Letter("r8-other-case", _with(364, "X-bm-mailing: spring26"), ("R8",)),
        Letter("r8-of-another-client", message(bank, t.PLAIN), ("R8",), client="bank"),
    ]


def envelopes() -> list[Letter]:
    """R9 to R11, which need an envelope that differs from the header; and R12."""
    returns = "Return-Path: <bounces@news.shop.example>"
    name = "other@news.shop.example"
    case = "Newsletter@news.shop.example"
    inside = "bounces@bounces.news.shop.example"
    foreign = "bounces@mailer.example"
    return [
        Letter("r9-other-name", _sent(371), ("R9",), envelope_from=name),
        Letter("r9-letter-case", _sent(372), ("R9",), envelope_from=case, note="RFC 5321, 2.4"),
        Letter("r10-sub-domain", _sent(373), ("R9", "R10"), envelope_from=inside),
        Letter("r10-parent", _sent(374), ("R9", "R10"), envelope_from="newsletter@shop.example"),
        Letter("r11-foreign", _sent(375), ("R9", "R10", "R11"), envelope_from=foreign),
        Letter(
            "r11-public-suffix",
            _sent(376, "news@shop.co.uk"),
            ("R4", "R9", "R10", "R11"),
            envelope_from="news@mailer.co.uk",
            note="co.uk is a public suffix: two organisations",
        ),
        Letter("r12-return-path", _with(381, returns), ("R12",)),
        Letter(
            "r12-empty", message(lines("Return-Path: <>", standard("x", 382)), t.PLAIN), ("R12",)
        ),
    ]


def at_once() -> list[Letter]:
    """Several rules in one message, and bytes that are not a message."""
    mess = lines("Return-Path: <>", f"From: {OURS}", "To:", "Cc: x@kunde.example", "Subject: ")
    injected = _with(392, "X-Name: Max").replace(b"Max\r\nMIME", b"Max\nBcc: x@y.example\r\nMIME")
    spaced = _changed(393, "To: ", "To : ")
    no_end = _sent(394).partition(b"\r\n\r\n")[0] + b"\r\n"
    null = _sent(395).replace(b"Order", b"Or\0der")
    mbox = b"From newsletter Tue Mar  3 09:15:00 2026\r\n" + _sent(396)
    return [
        Letter("several-rules", message(mess, t.PLAIN), ("R2", "R3", "R5", "R6", "R12")),
        Letter("unreadable-injected", injected, ("unreadable", "R5"), note="one LF among CRLF"),
        Letter("unreadable-space-before-colon", spaced, ("unreadable",), note="RFC 5322, 4.5"),
        Letter("unreadable-no-header-end", no_end, ("unreadable",)),
        Letter("unreadable-nul", null, ("unreadable",)),
        Letter("unreadable-mbox", mbox, ("unreadable",), note="the line of a mailbox file"),
    ]


def broken_letters() -> list[Letter]:
    """All of them."""
    return [
        *size_and_id(),
        *recipients(),
        *senders(),
        *copies_subject_reply(),
        *codes(),
        *envelopes(),
        *at_once(),
    ]
