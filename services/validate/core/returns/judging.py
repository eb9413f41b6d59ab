"""Judges returned mail, from its bytes to its event. Pure.

Judging has four steps. It understands the mail (shared/responses), finds the client that the mail
concerns, finds the message to which the mail refers (identity.py), and finds the recipient against
whom the mail counts (meaning.py). This module also decides where tokens are searched. Guarantees:
any bytes are accepted. The work is bounded, because at most MAX_TRIED tokens and at most MAX_QUOTED
return paths (identity.py) are verified per message. A token is ignored if it has expired, or if it
is not signed for the client that it contains.

The deliver service puts a token (shared/mail/unsubscribe.py) into each message: in the unsubscribe
link, in the subject of the mailto: address next to the link, or in a separate header field. The
token is read

- in the header of the message that a complaint or another feedback report returns, but not in the
  body, because the body may quote a message of somebody else;
- in the subject of a request to unsubscribe. The mailto: address and the link were made for one
  recipient. They unsubscribe this recipient, no matter which person uses them.

Feedback loops are often registered once for an installation: for its IP addresses, or with one
address for all domains. The reports of such a loop arrive at one client, the addressee. But the
signature of this installation in the report proves which client sent the message. The complaint
belongs to the client that sent the message, so this client gets the event, the suppression entry
and the forwarded mail. The addressee gets nothing, because it must not see the recipients of
another client. The addressee keeps the report if it sent the message, or if nothing proves which
client sent the message.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Final, Protocol

from msgspec import Struct
from msgspec.structs import replace

from services.validate.core.returns.identity import Verification, identify, proved_path
from services.validate.core.returns.meaning import Meaning, Quoted, meaning_of
from shared.mail import verp
from shared.mail.encoded_words import decode
from shared.mail.unsubscribe import RECIPIENT_FIELD, Unsubscription, find_tokens, read_token
from shared.registry.client import Client
from shared.responses.mime.parts import NO_FIELDS, Fields, Message, first, read_message
from shared.responses.reading import understand_message
from shared.responses.reports.feedback import FEEDBACK_RULE
from shared.responses.returned import original_header
from shared.responses.rules.model import Rules
from shared.responses.understood import ResponseKind, Understood
from shared.topics.records import Returned

MAX_TRIED: Final = 8
_FIELDS: Final = (RECIPIENT_FIELD.lower(), "list-unsubscribe")
# The name of the rule in shared/responses/rules/unsubscribes.toml.
_MAILTO_RULE: Final = "unsubscribe/token"


class Judged(Struct, frozen=True):
    """The result of judging returned mail.

    `client` is the client that the mail concerns, and `returned` is for this client. For a
    complaint, this client may differ from the addressee. `is_proved` is True if the mail proves
    which message it refers to. `fields` is the header of the returned mail itself.
    """

    returned: Returned
    client: Client | None
    fields: Fields
    understood: Understood
    meaning: Meaning
    is_proved: bool


class Owners(Protocol):
    """The part of the registry that judging needs."""

    def get(self, name: str) -> Client | None:
        """Return the client of this name."""
        ...

    def by_domain(self, domain: str) -> Client | None:
        """Return the client that has this sending domain."""
        ...


def judge_returned(
    returned: Returned,
    content: bytes,
    client: Client | None,
    by: Verification | None,
    *,
    rules: Rules,
    clients: Owners,
) -> Judged:
    """Judge a message to an address of `client`. If `by` is None, the return paths and tokens in
    the message are not verified."""
    message = read_message(content)
    understood = understand_message(message, rules, not returned.sender)
    header = quoted_header(message, understood, rules)
    tokens = read_tokens(returned, message, header, understood, by)
    if is_complaint(understood):
        other = other_owner(returned, content, tokens, by, clients)
        if other is not None:
            client, returned = other, replace(returned, client=other.name)
    tokens = [each for each in tokens if each.client == returned.client]
    identity = identify(returned, content, client, by, tokens)
    meaning = meaning_of(returned, content, understood, identity, Quoted(header, tokens))
    return Judged(
        returned, client, message.fields, understood, meaning, is_proved=identity is not None
    )


def is_complaint(understood: Understood) -> bool:
    """Return True if the mail is a complaint, or a feedback report that asks to unsubscribe."""
    is_feedback = understood.rule.startswith(FEEDBACK_RULE)
    return understood.kind is ResponseKind.COMPLAINT or (
        is_feedback and understood.kind is ResponseKind.UNSUBSCRIBE
    )


def quoted_header(message: Message, understood: Understood, rules: Rules) -> Fields:
    """Return the header of the message that is attached to a complaint."""
    return original_header(message, rules) if is_complaint(understood) else NO_FIELDS


def read_tokens(
    returned: Returned,
    message: Message,
    quoted: Fields,
    understood: Understood,
    by: Verification | None,
) -> Sequence[Unsubscription]:
    """Return the valid tokens of all clients, in order."""
    if by is None:
        return ()
    values = [value for name in _FIELDS for value in quoted.get(name)]
    if understood.rule == _MAILTO_RULE:
        subject = first(message.fields, "subject")
        values.append(decode(subject.encode()) if "=?" in subject else subject)
    return _verified(values, by, verp.day_of(returned.received_at_ms))


def other_owner(
    returned: Returned,
    content: bytes,
    tokens: Sequence[Unsubscription],
    by: Verification | None,
    clients: Owners,
) -> Client | None:
    """Return the client that sent the message, if the report proves that the addressee did not send
    it; None if the addressee keeps the report.

    `tokens` are verified tokens of any client.
    """
    if returned.mail_id or by is None:
        return None
    if any(each.client == returned.client for each in tokens):
        return None
    if identify(returned, content, clients.get(returned.client), by) is not None:
        return None
    for token in tokens:
        if (client := clients.get(token.client)) is not None:
            return client
    proved = proved_path(returned, content, clients.by_domain, by)
    return None if proved is None else proved[0]


def _verified(values: Iterable[str], by: Verification, today: int) -> list[Unsubscription]:
    tokens = (token for value in values for token in find_tokens(value))
    read = (
        read_token(by.keys, token, today=today, days_valid=by.days_valid)
        for token in islice(dict.fromkeys(tokens), MAX_TRIED)
    )
    return [each for each in read if isinstance(each, Unsubscription)]
