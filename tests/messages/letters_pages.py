"""Letters with pages, pictures, files and invitations that keep every rule; large letters."""

from __future__ import annotations

import random

from tests.messages import building as b
from tests.messages import texts as t
from tests.messages.building import (
    Body,
    Letter,
    lines,
    message,
    multipart,
    standard,
    text_body,
    word,
)

TITLE = "Frühjahrsmode"
INVITE = (
    "BEGIN:VCALENDAR\nPRODID:-//Shop Example//Events//DE\nVERSION:2.0\nMETHOD:REQUEST\n"
    "BEGIN:VEVENT\nUID:modenschau-2026@shop.example\nDTSTAMP:20260303T081500Z\n"
    "DTSTART:20260320T170000Z\nDTEND:20260320T190000Z\nSUMMARY:Modenschau\n"
    "ORGANIZER:mailto:newsletter@news.shop.example\nEND:VEVENT\nEND:VCALENDAR\n"
)
OUTLOOK = (
    "X-Mailer: Microsoft Outlook 16.0\nThread-Index: AdqVt1hZyXkq0bJ5Q4y7Yk5oXg==\n"
    "Content-Language: de\nIn-Reply-To: <frage.1@kunde.example>\n"
    "References: <frage.0@kunde.example>\n <frage.1@kunde.example>"
)


def newsletters() -> list[Letter]:
    """Newsletter pages with offers."""
    spring = f"{t.BULK}\nX-bm-mailing: SPRING26"
    winter = f"{t.BULK}\nX-BM-Mailing: WINTER25"
    page, long_page = t.both(t.GERMAN, TITLE), t.both(t.GERMAN, TITLE, rows=37)
    head = [lines(standard(word(TITLE), number), spring) for number in range(101, 104)]
    ours = b.dkim_line("news.shop.example", "s2026", 1)
    twice = lines(ours, b.dkim_line("shop.example", "esp", 3))
    feedback = lines(standard(word(TITLE), 105), t.BULK, "Feedback-ID: 4711:spring:news:shop")
    answers = "Reply-To: Service <service@shop.example>\nFeedback-ID: 4711:spring:news:shop"
    full = lines(ours, head[1], answers)
    sale = lines(standard("Winterschlussverkauf", 104), winter)
    return [
        Letter("html-newsletter", message(head[0], page), code="SPRING26"),
        Letter("html-newsletter-10kb", message(full, long_page), code="SPRING26"),
        Letter("html-signed", message(lines(ours, head[2]), page), code="SPRING26"),
        Letter("html-signed-twice", message(lines(twice, feedback), page)),
        Letter(
            "html-newsletter-winter", message(sale, t.both(t.GERMAN, "Winter")), code="WINTER25"
        ),
    ]


def pages() -> list[Letter]:
    """Pages with embedded pictures, and in other scripts."""
    to = word("山田 太郎") + " <taro.yamada@kunde.example>"
    japanese = lines(standard(word("春の新作"), 108, to=to), t.BULK)
    arabic = lines(standard(word("عروض الربيع"), 109), t.BULK)
    sale = text_body(b.html("Sale", t.ENGLISH, 20), encoding="base64", kind="html")
    pictures = t.with_pictures(t.GERMAN, TITLE)
    answer = lines(OUTLOOK, standard("AW: Ihre Anfrage", 107))
    return [
        Letter("html-pictures", message(lines(standard(word(TITLE), 106), t.BULK), pictures)),
        Letter("html-outlook", message(answer, t.with_pictures(t.GERMAN, "Anfrage"))),
        Letter("html-japanese", message(japanese, t.both(t.JAPANESE, "春の新作"))),
        Letter("html-arabic", message(arabic, t.both(t.ARABIC, "عروض"))),
        Letter("html-only-base64", message(lines(standard("Sale", 110), t.BULK), sale)),
    ]


def files() -> list[Letter]:
    """An invoice, an invitation, and the large letters."""
    spring = lines(standard(word("Unser neuer Katalog"), 113), t.BULK, "X-bm-mailing: SPRING26")
    calendar = Body(
        'Content-Type: text/calendar; charset="utf-8"; method=REQUEST\n'
        "Content-Transfer-Encoding: 8bit",
        b.crlf(INVITE).encode(),
    )
    invited = multipart("alternative", "_000_invite_", [text_body(t.GERMAN), calendar])
    bill = multipart("mixed", "b1_c8d7e6f5", [t.both(t.GERMAN, "Rechnung"), pdf("Rechnung", 9_000)])
    catalogue = text_body(b.html("Katalog", t.GERMAN), kind="html")
    cover = b.file_body("image/png", "katalog.png", t.noise_png(148_000, 3), "katalog@shop")
    picture = multipart("related", "----=_Part_7_9", [catalogue, cover])
    attached = multipart("mixed", "b2_77", [t.PLAIN, pdf("Katalog", 211_000)])
    long_page = text_body(b.html("Katalog", t.ENGLISH, 1450), encoding="8bit", kind="html")
    whole = lines(standard("Der ganze Katalog", 114), t.BULK)
    limit = t.sized(standard("Exactly at the limit", 116), 307_200)
    return [
        Letter("invoice-pdf", message(standard("Rechnung 4711", 111), bill)),
        Letter("calendar-invite", message(standard("Einladung: Modenschau", 112), invited)),
        Letter("large-picture-200kb", message(spring, picture), code="SPRING26"),
        Letter("large-page-260kb", message(whole, long_page)),
        Letter("large-pdf-290kb", message(standard("Katalog als PDF", 115), attached)),
        Letter("large-exactly-307200", limit, note="R1 allows 307,200 bytes"),
    ]


def pdf(name: str, size_bytes: int) -> Body:
    """Bytes that start and end like a PDF."""
    noise = random.Random(size_bytes).randbytes(size_bytes)
    octets = b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n" + noise + b"\n%%EOF\n"
    return b.file_body("application/pdf", f"{name}_4711.pdf", octets)


def page_letters() -> list[Letter]:
    """All of them."""
    return newsletters() + pages() + files()
