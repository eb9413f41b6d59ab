"""Builds the event, the suppression entry and the pages for unsubscribing by a link. Pure.

A request to unsubscribe by mail leads to the same event as a link. The counting of bounces makes
the suppression entry from this event (shared/responses/counting). If a link is used, the entry is
also written together with the event, so that the entry is in force even while no process counts
bounces. The counting later writes the same entry again, but the second entry changes nothing. If
the reader unsubscribes again, the event has the same id and the entry has the same key.

The pages are in English and German. A page is one HTML file without scripts, fonts or images. The
content security policy in the HTTP headers allows only the style and the form. Names from the link
are escaped.
"""

from __future__ import annotations

import base64
import hashlib
from enum import StrEnum
from html import escape
from typing import Final

from msgspec import Struct

from shared.mail.comparison import comparable
from shared.mail.unsubscribe import Unsubscription
from shared.registry.client import Client
from shared.responses.understood import ResponseKind
from shared.topics.records import MailEvent
from shared.topics.suppressions import Suppression, SuppressionReason

RULE: Final = "unsubscribe/one-click"
# Every event of an unsubscribe link has this return id. The event of a request by mail has the
# return id of that mail.
RETURN_ID: Final = "one-click"

_STYLE: Final = (
    "body{margin:0 auto;padding:1.5rem;max-width:34rem;background:#fff;color:#1a1d21;"
    "font:1.05rem/1.5 system-ui,sans-serif;overflow-wrap:anywhere}"
    "h1{font-size:1.4rem;line-height:1.25;color:#14375e}"
    "button{font:inherit;min-height:2.75rem;padding:.6rem 1.4rem;border:0;border-radius:.3rem;"
    "background:#14375e;color:#fff;cursor:pointer}"
    ":focus-visible{outline:3px solid #b34700;outline-offset:2px}"
)
_STYLE_HASH: Final = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
HEADERS: Final = {
    "Content-Security-Policy": (
        f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; img-src data:; base-uri 'none';"
        " form-action 'self'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Robots-Tag": "noindex",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Vary": "Accept-Language",
}
DEFAULT: Final = "en"
MAX_LANGUAGES: Final = 20


class Page(StrEnum):
    """The content of the page."""

    ASK = "ask"
    DONE = "done"
    FORGED = "forged"
    EXPIRED = "expired"
    NOT_ASKED = "not_asked"
    LATER = "later"


class _Words(Struct, frozen=True):
    title: str
    text: str


_BUTTON: Final = {"en": "Unsubscribe", "de": "Abmelden"}

_WORDS: Final = {
    "en": {
        Page.ASK: _Words("Unsubscribe?", "{recipient} will get no more mail from {sender}."),
        Page.DONE: _Words("You are unsubscribed", "{recipient} gets no more mail from {sender}."),
        Page.FORGED: _Words(
            "This link does not work",
            "It may have been cut. Use the whole link of the message, or answer the message.",
        ),
        Page.EXPIRED: _Words(
            "This link has expired", "Use the link of a newer message, or answer the message."
        ),
        Page.NOT_ASKED: _Words(
            "Nothing was changed", "Open the link of the message and press the button there."
        ),
        Page.LATER: _Words(
            "Not now", "Your wish could not be stored. Please try again in a few minutes."
        ),
    },
    "de": {
        Page.ASK: _Words("Abmelden?", "{recipient} erhält dann keine Mail von {sender} mehr."),
        Page.DONE: _Words(
            "Sie sind abgemeldet", "{recipient} erhält keine Mail von {sender} mehr."
        ),
        Page.FORGED: _Words(
            "Dieser Link ist ungültig",
            "Vielleicht wurde er gekürzt. Bitte verwenden Sie den ganzen Link der Nachricht oder"
            " antworten Sie auf die Nachricht.",
        ),
        Page.EXPIRED: _Words(
            "Dieser Link ist abgelaufen",
            "Bitte verwenden Sie den Link einer neueren Nachricht oder antworten Sie auf die"
            " Nachricht.",
        ),
        Page.NOT_ASKED: _Words(
            "Es wurde nichts geändert",
            "Bitte öffnen Sie den Link der Nachricht und drücken Sie dort auf den Knopf.",
        ),
        Page.LATER: _Words(
            "Gerade nicht möglich",
            "Ihr Wunsch konnte nicht gespeichert werden. Bitte versuchen Sie es in einigen Minuten"
            " noch einmal.",
        ),
    },
}


def event_of(wish: Unsubscription, client: Client, now_ms: int) -> MailEvent:
    """Return the event `unsubscribed` of the message that had the link."""
    mailing = client.mailings.get(wish.mailing)
    return MailEvent(
        client=client.name,
        mailing_id=mailing.mailing_id if mailing else "",
        sub_client=mailing.sub_client if mailing else "",
        recipient=wish.recipient,
        at_ms=now_ms,
        response=ResponseKind.UNSUBSCRIBE.value,
        response_rule=RULE,
        return_id=RETURN_ID,
    )


def entry_of(wish: Unsubscription, now_ms: int) -> Suppression | None:
    """Return the suppression entry; None for an invalid address, to which no mail can be sent."""
    recipient = comparable(wish.recipient)
    if not recipient:
        return None
    return Suppression(
        client=wish.client,
        reason=SuppressionReason.UNSUBSCRIBED,
        recipient=recipient,
        at_ms=now_ms,
        author="sluice",
        note=RETURN_ID,
        mail_id=wish.mail_id,
    )


def is_one_click(fields: list[tuple[str, str]]) -> bool:
    """Return whether a form has the fields of a one-click request (RFC 8058, 3.1)."""
    return ("List-Unsubscribe", "One-Click") in fields


def draw(page: Page, language: str, recipient: str = "", sender: str = "") -> bytes:
    """Return the HTML of a page."""
    words = _WORDS[language][page]
    text = escape(words.text).format(recipient=_name(recipient), sender=_name(sender))
    button = _form(language) if page is Page.ASK else ""
    return (
        f'<!doctype html><html lang="{language}"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<title>{escape(words.title)}</title><link rel="icon" href="data:,">'
        f"<style>{_STYLE}</style></head><body><main><h1>{escape(words.title)}</h1>"
        f"<p>{text}</p>{button}</main></body></html>\n"
    ).encode()


def language_of(accept: str) -> str:
    """Return the page language that Accept-Language prefers, or English if it lists none of the
    page languages."""
    found = (DEFAULT, 0.0)
    for part in accept.split(",")[:MAX_LANGUAGES]:
        name, _, weight = part.partition(";")
        language = name.strip().lower().partition("-")[0]
        quality = _quality(weight)
        if language in _WORDS and quality > found[1]:
            found = (language, quality)
    return found[0]


def _quality(text: str) -> float:
    name, _, value = text.strip().partition("=")
    if not name:
        return 1.0
    try:
        return float(value) if name.strip() == "q" else 1.0
    except ValueError:
        return 0.0


def _form(language: str) -> str:
    # A form without an action is sent to the address of the page.
    return (
        '<form method="post"><input type="hidden" name="List-Unsubscribe" value="One-Click">'
        f"<button>{_BUTTON[language]}</button></form>"
    )


def _name(text: str) -> str:
    # The name may contain right-to-left text or braces.
    return f"<strong><bdi>{escape(text)}</bdi></strong>"
