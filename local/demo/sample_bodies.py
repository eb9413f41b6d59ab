"""Makes realistic bodies for the demo's messages: text, HTML, pictures, several writing systems.

Owns: a dozen bodies with their MIME headers, generated once from a seed. Does not own: the
recipients and the rules that messages violate (mailing.py).
"""

from __future__ import annotations

import random
from email.message import EmailMessage
from email.policy import SMTP
from typing import Final

from msgspec import Struct

_PICTURE_BYTES: Final = (6_000, 30_000, 150_000)
_PNG: Final = b"\x89PNG\r\n\x1a\n"

_GERMAN: Final = (
    "Liebe Kundin, lieber Kunde,\n\nunsere Frühjahrsangebote sind da: Stiefel, Mäntel und "
    "schöne Tücher, nur für kurze Zeit.\n\nHerzliche Grüße\nIhr Team\n"
)
_ENGLISH: Final = (
    "Hello,\n\nyour statement for this month is ready. Sign in to read it; we never ask for "
    "your password by e-mail.\n\nKind regards\nNorthbank\n"
)
_JAPANESE: Final = "いつもご利用ありがとうございます。\n春の新作が入荷しました。\n"
_ARABIC: Final = "مرحبا،\n\nعروض الربيع وصلت إلى متجرنا.\n\nمع أطيب التحيات\n"
_FRENCH: Final = "Bonjour,\n\nles soldes d’été commencent demain à 8 heures.\n\nÀ bientôt\n"


class SampleBody(Struct, frozen=True):
    """A body, its MIME header lines, and a subject as text."""

    subject: str
    mime: bytes
    body: bytes


def sample_bodies(seed: int) -> tuple[SampleBody, ...]:
    """Return all sample bodies of the demo. The same seed gives the same bodies."""
    chance = random.Random(seed)  # noqa: S311 - repeatable content, no secret
    texts = (
        ("Frühjahrsangebote: 20 % auf alles", _GERMAN),
        ("Your statement is ready", _ENGLISH),
        ("春の新作のお知らせ", _JAPANESE),
        ("عروض الربيع", _ARABIC),
        ("Les soldes commencent", _FRENCH),
    )
    plain = [_plain(subject, text) for subject, text in texts]
    pages = [_page(subject, text, chance.randrange(5, 40)) for subject, text in texts]
    pictures = [
        _with_picture(*texts[number % len(texts)], chance.randbytes(size))
        for number, size in enumerate(_PICTURE_BYTES)
    ]
    # Most messages are a page of HTML. A few messages have a large picture.
    return (*plain, *pages, *pages, *pages, *pictures)


def _plain(subject: str, text: str) -> SampleBody:
    message = EmailMessage(policy=SMTP)
    message.set_content(text)
    return _letter(subject, message)


def _html(subject: str, text: str, offers: int) -> str:
    rows = "".join(
        f'<tr><td style="padding:8px"><a href="https://shop.example/offer/{number}">'
        f"{subject} · {number}</a></td><td>{number * 7 % 90 + 9},95 €</td></tr>\n"
        for number in range(1, offers + 1)
    )
    return (
        f'<!doctype html><html><head><meta charset="utf-8"><title>{subject}</title></head>\n'
        f"<body><h1>{subject}</h1>\n<p>{text}</p>\n<table>\n{rows}</table>\n"
        '<p><a href="https://shop.example/unsubscribe">Unsubscribe</a></p></body></html>\n'
    )


def _page(subject: str, text: str, offers: int) -> SampleBody:
    message = EmailMessage(policy=SMTP)
    message.set_content(text)
    message.add_alternative(_html(subject, text, offers), subtype="html")
    return _letter(subject, message)


def _with_picture(subject: str, text: str, noise: bytes) -> SampleBody:
    message = EmailMessage(policy=SMTP)
    message.set_content(text)
    message.add_attachment(_PNG + noise, "image", "png", filename="offer.png")
    return _letter(subject, message)


def _letter(subject: str, message: EmailMessage) -> SampleBody:
    if message.is_multipart():
        # The boundary is fixed, because the messages of two runs would differ if it were random.
        message.set_boundary("=_demo_part_=")
    mime, _, body = message.as_bytes().partition(b"\r\n\r\n")
    return SampleBody(subject, mime, body)
