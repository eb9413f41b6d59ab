"""Finds the recipients in free-text reports, and the text about each recipient.

This module reads known layouts (rules/formats.toml), and searches unknown layouts in a general way.
The general search looks first for addresses alone in a line, then for addresses after certain
words, and then for any address. It skips the addresses of the sender and of contacts. No function
raises an exception. The work is linear in the text. This module does no I/O.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from typing import Final

from msgspec.structs import replace

from shared.responses.reports.addresses import (
    ADDRESS_PATTERN,
    aliases_in,
    distinct,
    is_public,
    normal_form,
)
from shared.responses.reports.statement import Statement
from shared.responses.rules.model import Format

MAX_RECIPIENTS: Final = 50
_AROUND_CHARS: Final = 1_500

_A: Final = ADDRESS_PATTERN
_LABELS: Final = (
    r"(?:the )?(?:intended |failed |original )?(?:recipients?|rcpt to|addressee"
    r"|(?:e-?mail|recipient|original|mail)? ?address|unknown (?:local )?user|bad address|user"
    r"|undeliverable to|failed recipients?|an|empf[^ :\n]{1,12}|destinatari[oa]s?|destinataire\w?"
    r"|para|pour|получател\w{1,3}|宛先|收件人|受信者)[ \t]{0,4}:?"
)


def _alone(labels: str) -> re.Pattern[str]:
    """Return a pattern for a line that is an address, perhaps with a bullet, label or reason."""
    return re.compile(
        rf"^[ \t>*|\u2022.-]{{0,40}}(?:(?:\d{{1,3}}[.)]|{labels})[ \t]{{0,20}})?"
        rf"(?:\"[^\"\n]{{1,60}}\" )?[<(\[\"']{{0,2}}(?:smtp:|mailto:)?({_A})[>)\]\"']{{0,3}}"
        rf"[ \t]{{0,20}}(?:$|[:;(,\u2026-]|\.\.\.|on [a-z]{{3}},|<{_A}>$|=|is |was )",
        re.IGNORECASE | re.MULTILINE,
    )


_ALONE: Final = _alone(_LABELS)
# A line that begins with "to:" is less certain, because it may be part of the returned message's
# header.
_ALONE_AFTER_TO: Final = _alone(r"to[ \t]{0,4}:")
_AFTER_WORDS: Final = re.compile(
    r"(?:delivered to|deliver(?:ing|y)?(?: (?:your|the|this|a))?(?: (?:mail|e-?mail|message))?"
    r"(?: \"[^\"\n]{0,200}\")? to|message to|mail to|undeliverable to|unknown(?: local)? user"
    r"|no such user|rcpt to|recipient|address|user|mailbox|addressed to|sent to|for|account|full|an"
    rf"|auf|unbekannt)[ \t]{{0,3}}:?\s{{1,12}}[<(\[\"']{{0,2}}(?:smtp:)?({_A})",
    re.IGNORECASE,
)
_ANY: Final = re.compile(_A)
# Matches a line of signs. Gateways append advertisements below such a line.
_FOOTER: Final = re.compile(r"\n[ \t]{0,8}[_*=#~]{10,200}")
_HEADER_LINE: Final = re.compile(
    r"^[ \t>*]{0,8}(?:message-id|date|from|to|cc|subject|sent|betreff"
    r"|gesendet am|objet|oggetto|asunto):[^\n]{0,998}$"
    # This part matches greetings, because a greeting may name the sender.
    r"|^[ \t]{0,8}(?:sehr geehrte|lieber? |dear|ch[eè]re? |gentile|egregio|estimad|prezad|caro "
    r"|beste |geachte|уважаем|szanown|vážen)[^\n.]{0,60}[,!:]?$",
    re.IGNORECASE | re.MULTILINE,
)
_NOT_RECIPIENT: Final = re.compile(
    r"(?:from|sender|von|contact|reply-?to|envelope-from|mailto|return-path|postmaster|questions?"
    r"|helpdesk|support|ask|write to|send (?:mail|e-?mail|a message|an e-?mail) to|message-id"
    r"|absender|de|expediteur|new (?:e-?mail )?address(?: is)?|moved to|please (?:try|use)"
    r")[ \t]{0,3}[:=]?[ \t]{0,3}[<(\[\"]?$",
    re.IGNORECASE,
)
_ROLES: Final = re.compile(
    r"^(?:postmaster|mailer-?daemon|mail-?daemon|abuse|support|helpdesk|hostmaster|webmaster|noreply"
    r"|no-reply|root|admin(?:istrator)?|postoffice|daemon)@",
    re.IGNORECASE,
)


def find_format(formats: Sequence[Format], lowered: str) -> Format | None:
    """Return the first layout whose mark occurs in the lower-case text."""
    for layout in formats:
        for mark in layout.marks:
            if mark in lowered:
                return layout
    return None


def read_layout(layout: Format, text: str, ours: Collection[str]) -> list[Statement]:
    """Return the statements of a report whose layout is known."""
    found = [match for match in layout.recipient.finditer(text) if _group(match)]
    return _statements(found, text, layout, ours)


def read_unknown_layout(text: str, ours: Collection[str], is_trusted: bool) -> list[Statement]:
    """Return the statements of a report with an unknown layout."""
    for pattern in (_ALONE, _AFTER_WORDS, _ALONE_AFTER_TO, _ANY):
        found = list(_usable(pattern.finditer(text), text, ours))
        if found:
            return _statements(found, text, None, ours, is_trusted)
    return []


def around(text: str, address: str) -> str:
    """Return the text from the first occurrence of the address. If there is none, return ""."""
    at = text.lower().find(address.lower())
    return without_footer(text[at : at + _AROUND_CHARS]) if at >= 0 else ""


def reasons_in(text: str) -> str:
    """Remove the footer, greetings, and lines that repeat the returned message's header."""
    return _HEADER_LINE.sub("", without_footer(text))


def without_footer(text: str) -> str:
    """Remove the text that a gateway has appended: a line of signs and the lines below it."""
    found = _FOOTER.search(text)
    return text[: found.start()] if found else text


def _usable(
    matches: Iterator[re.Match[str]], text: str, ours: Collection[str]
) -> Iterator[re.Match[str]]:
    for count, found in enumerate(matches):
        if count > 4 * MAX_RECIPIENTS:
            return
        address = _group(found)
        before = text[
            max(0, found.start(found.lastindex or 0) - 40) : found.start(found.lastindex or 0)
        ]
        is_usable = is_public(address) and normal_form(address) not in ours
        if is_usable and not _ROLES.match(address) and not _NOT_RECIPIENT.search(before):
            yield found


def _statements(
    found: Sequence[re.Match[str]],
    text: str,
    layout: Format | None,
    ours: Collection[str],
    is_trusted: bool = False,
) -> list[Statement]:
    statements: dict[str, Statement] = {}
    for place, match in enumerate(found):
        address = _address(match)
        if address in ours and len(found) > 1:
            continue
        if len(statements) == MAX_RECIPIENTS:
            break
        following = [m.start() for m in found[place + 1 :] if _address(m) != address]
        end = min([*following[:1], match.start() + _AROUND_CHARS])
        start = text.rfind("\n", 0, match.start(match.lastindex or 0)) + 1
        piece = _HEADER_LINE.sub("", text[start:end])
        aliases = distinct(aliases_in(piece), but=address)
        diagnostic = ""
        if layout is not None and layout.reason is not None:
            reason = layout.reason.search(piece) or layout.reason.search(text)
            diagnostic = _group(reason) if reason else ""
        piece = "" if diagnostic else piece
        trusted = layout.is_trusted if layout is not None else is_trusted
        known = statements.get(address)
        if known is None:
            statements[address] = Statement(
                address, "", "", diagnostic, piece, trusted, aliases=aliases
            )
        elif len(known.around) < _AROUND_CHARS:
            joined = f"{known.around}\n{piece}"[:_AROUND_CHARS]
            statements[address] = replace(
                known,
                around=joined,
                is_trusted=trusted,
                aliases=distinct((*known.aliases, *aliases), but=address),
            )
    return list(statements.values())


def _address(match: re.Match[str]) -> str:
    """Return the address in its normal form. A name without a domain is not changed."""
    found = _group(match)
    return normal_form(found) if "@" in found else found


def _group(match: re.Match[str]) -> str:
    return next((group for group in match.groups() if group), match[0])
