"""Letters that keep every rule, with headers as platforms write them: folded, odd case, long."""

from __future__ import annotations

from tests.messages import building as b
from tests.messages import texts as t
from tests.messages.building import Letter, lines, message, standard, text_body

FOLDED = (
    f"Date: {b.DATE}\nFrom: =?UTF-8?Q?Shop_Example_=E2=80=93_Newsletter?=\n"
    ' <newsletter@news.shop.example>\nTo:\n "Muster, Max (Kundennummer 4711)"\n'
    "\t<max.muster@kunde.example>\nMessage-ID:\n <20260303081500.00201@news.shop.example>\n"
    "Subject: Ihre Bestellung vom 1. März,\n\tdie Rechnung\n und der Lieferschein\n"
    "X-bm-mailing:\n SPRING26"
)
ODD_CASE = (
    f"date: {b.DATE}\nfrom: newsletter@news.shop.example\nTO: <max.muster@kunde.example>\n"
    "MESSAGE-ID:<2026.202@news.shop.example>\nsubject:Order\nx-bm-mailing:WINTER25"
)
RECEIVED = (
    "Received: from app-7.shop.example (app-7.shop.example [192.0.2.7])\n"
    "\tby relay.shop.example (Postfix) with ESMTPS id 4Xy1Zq0Kz3\n"
    "\t(using TLSv1.3 with cipher TLS_AES_256_GCM_SHA384);\n"
    "\tTue,  3 Mar 2026 09:15:01 +0100 (CET)"
)
REPLY_TO = "Reply-To: Service <service@shop.example>,\n hilfe@shop.example"


def written_oddly() -> list[Letter]:
    """Long, folded, in odd case, or with bytes that are unusual in modern mail."""
    many = lines(*(f"X-Trace-{number}: {number * 7919}" for number in range(60)))
    latin = message(lines(standard("Order", 211), "X-Name: Müller"), t.PLAIN)
    japanese = "春の新作".encode("iso-2022-jp")
    raw = message(standard("@@", 212), t.PLAIN).replace(b"@@\r\n", japanese + b"\r\n")
    lf_only = message(standard("Order", 209), t.PLAIN).replace(b"\r\n", b"\n")
    relayed = message(lines(RECEIVED, RECEIVED, standard("Order", 203)), t.PLAIN)
    return [
        Letter("headers-folded", message(FOLDED, t.PLAIN), code="SPRING26"),
        Letter("headers-odd-case", message(ODD_CASE, t.PLAIN), code="WINTER25"),
        Letter("headers-received", relayed),
        Letter("headers-lf-only", lf_only, note="LF line ends, as Kafka platforms send them"),
        Letter("headers-many", message(lines(many, standard("Order", 210)), t.PLAIN)),
        Letter(
            "headers-latin1-elsewhere",
            latin.replace("ü".encode(), b"\xfc"),
            note="8-bit in a header that no rule is about",
        ),
        Letter("headers-raw-iso-2022-jp", raw, note="escape sequences without encoded words"),
    ]


def addressed() -> list[Letter]:
    """Addresses of many forms, with and without an envelope."""
    ours = "newsletter@news.shop.example"

    def plain(number: int, sender: str = b.SHOP, to: str = b.MAX, extra: str = "") -> bytes:
        return message(lines(standard("Order", number, sender, to), extra), t.PLAIN)

    return [
        Letter(
            "headers-idn-recipient",
            plain(204, to="Jörg <joerg@müller.example>"),
            rcpt="joerg@xn--mller-kva.example",
        ),
        Letter(
            "headers-domain-case",
            plain(205, "News <newsletter@NEWS.Shop.EXAMPLE>", "max@KUNDE.example"),
            envelope_from=ours,
            rcpt="max@kunde.EXAMPLE",
        ),
        Letter("headers-comment-name", plain(206, f"{ours} (Shop Example)")),
        Letter("headers-apostrophe-plus", plain(208, to="O'Neil <o'neil+shop@kunde.example>")),
        Letter("headers-reply-to", plain(213, extra=REPLY_TO)),
        Letter(
            "headers-quoted-local",
            plain(214, to='"max muster"@kunde.example'),
            rcpt='"max muster"@kunde.example',
        ),
        Letter("headers-envelope", plain(215), envelope_from=ours, rcpt="max.muster@kunde.example"),
    ]


def from_the_bank() -> list[Letter]:
    """Letters of the other client, which has no codes."""
    signed = lines(
        b.dkim_line("mail.bank.example", "b1", 5),
        standard("Hinweis zu Ihrem Konto", 217, b.BANK),
        "Auto-Submitted: auto-generated",
    )
    statement = message(standard("Ihr Kontoauszug", 207, b.BANK), text_body(t.GERMAN))
    password = message(standard("Your code is 428 193", 216, b.BANK), t.PLAIN)
    sender = "statements@mail.bank.example"
    return [
        Letter("bank-statement", statement, client="bank"),
        Letter("bank-one-time-code", password, client="bank", envelope_from=sender),
        Letter("bank-signed", message(signed, t.both(t.GERMAN, "Hinweis")), client="bank"),
    ]


def header_letters() -> list[Letter]:
    """All of them."""
    return written_oddly() + addressed() + from_the_bank()
