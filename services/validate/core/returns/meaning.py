"""Builds the event of returned mail. The event contains the kind of the mail, the message that came
back, and the recipient against whom the mail counts. Pure.

The event contains a recipient only if two conditions are met. First, the recipient is proved to be
the recipient of the message that came back (identity.py). Second, either the report names this
recipient, or the report hides the recipient (shared/responses/reports/feedback.py) and quotes the
message's token (judging.py). An event without a recipient counts against nobody.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from services.validate.core.returns.identity import Identity, recipient_among
from shared.mail.unsubscribe import Unsubscription
from shared.responses.mime.parts import NO_FIELDS, Fields, parse_fields, split_header
from shared.responses.reports.addresses import find_addresses
from shared.responses.reports.feedback import is_hidden
from shared.responses.understood import ReportedRecipient, ResponseKind, Understood
from shared.topics.records import EventType, MailEvent, Returned

HEAD_BYTES: Final = 65_536
_TYPES: Final = {
    ResponseKind.COMPLAINT: EventType.COMPLAINED,
    ResponseKind.UNSUBSCRIBE: EventType.UNSUBSCRIBED,
}


class Meaning(Struct, frozen=True):
    """The event of one returned message. `subject` is the mail id or, if there is none, the return
    id."""

    type: EventType
    subject: str
    data: MailEvent


class Quoted(Struct, frozen=True):
    """The header and the tokens of the reported message, as the report quotes them."""

    header: Fields = NO_FIELDS
    tokens: Sequence[Unsubscription] = ()


def meaning_of(
    returned: Returned,
    content: bytes,
    understood: Understood,
    identity: Identity | None,
    quoted: Quoted = Quoted(),  # noqa: B008 - the default is never changed
) -> Meaning:
    """Return the event of this returned mail."""
    found = _reported(returned, content, understood, identity)
    if found is None and identity is not None:
        found = _hidden(understood, identity, quoted)
    # A report that is not final, or is about somebody else, counts against nobody.
    counts = found is not None and found.is_final
    shown = found or next(iter(understood.recipients), _NOBODY)
    kind = found.kind if found is not None else understood.kind
    data = MailEvent(
        client=returned.client,
        mailing_id=identity.mailing_id if identity else "",
        sub_client=identity.sub_client if identity else "",
        recipient=found.address if found is not None else "",
        at_ms=returned.received_at_ms,
        enhanced=shown.status,
        bounce_class=found.bounce_class if found is not None and counts else "",
        reason=shown.diagnostic,
        size_bytes=len(content),
        response=kind.value,
        response_rule=understood.rule,
        return_id=returned.return_id,
    )
    subject = identity.mail_id if identity else returned.return_id
    return Meaning(_TYPES.get(understood.kind, EventType.RETURNED), subject, data)


_NOBODY: Final = ReportedRecipient("", ResponseKind.UNKNOWN)


def _reported(
    returned: Returned, content: bytes, understood: Understood, identity: Identity | None
) -> ReportedRecipient | None:
    """Return the part of the report about the recipient of the message; None if there is no such
    part."""
    if identity is None:
        return None
    recipients = understood.recipients
    addresses = (each for one in recipients for each in (one.address, *one.aliases))
    if address := recipient_among(identity, addresses):
        named = [one for one in recipients if address in (one.address, *one.aliases)]
        # An alias may stand for several mailboxes. The alias exists as long as one of these
        # mailboxes exists.
        one = next((each for each in named if each.kind is not ResponseKind.HARD), named[0])
        return replace(one, address=address)
    if understood.kind is ResponseKind.UNSUBSCRIBE:
        # The request names nobody, so its author is the recipient who wants no more mail.
        sender = recipient_among(identity, senders(returned, header_of(content)))
        return ReportedRecipient(sender, understood.kind) if sender else None
    return None


def _hidden(understood: Understood, identity: Identity, quoted: Quoted) -> ReportedRecipient | None:
    """Return the recipient if the report hides the address, or if an unsubscribe request has the
    token."""
    if understood.kind not in _TYPES:
        return None
    named = [one.address for one in understood.recipients if one.address]
    candidates = [
        *(token.recipient for token in quoted.tokens if token.mail_id == identity.mail_id),
        *find_addresses(" ".join(quoted.header.get("to")[:1])),
    ]
    address = recipient_among(
        identity, (each for each in candidates if all(is_hidden(one, each) for one in named))
    )
    return ReportedRecipient(address, understood.kind) if address else None


def header_of(content: bytes) -> Fields:
    """Return the fields of a returned message's header."""
    head = content[:HEAD_BYTES].replace(b"\r\n", b"\n")
    return parse_fields(split_header(head)[0])


def senders(returned: Returned, fields: Fields) -> list[str]:
    """Return the envelope sender and the addresses in the From fields."""
    found = [each for value in fields.get("from") for each in find_addresses(value)]
    return [returned.sender, *found]
