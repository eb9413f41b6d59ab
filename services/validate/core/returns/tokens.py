"""Our own tokens in what comes back: they name the recipient where a report does not. Pure.

deliver puts a token (shared/mail/unsubscribe.py) into each message: in the link to unsubscribe, in
the subject of the mailto: address beside it, or in a field of its own. It is read

- in the header of the message that a complaint or another feedback report returns. What stands in a
  body is not read: there the message may quote another one, of somebody else;
- in the subject of a request to unsubscribe: whoever writes to the mailto: address unsubscribes the
  recipient that it was made for, as whoever follows the link does.

Owns: where tokens are looked for. Does not own: whether the report may name that recipient
(meaning.py), the form and the proof of a token.
Guarantees: a token that is not signed for the client that it names, or has expired, is none; at
most MAX_TRIED are verified per message.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Final

from services.validate.core.returns.identity import Verification
from shared.mail import verp
from shared.mail.encoded_words import decode
from shared.mail.unsubscribe import RECIPIENT_FIELD, Unsubscription, find_tokens, read_token
from shared.responses.mime.parts import NO_FIELDS, Fields, Message, first
from shared.responses.reports.feedback import FEEDBACK_RULE
from shared.responses.returned import original_header
from shared.responses.rules.model import Rules
from shared.responses.understood import ResponseKind, Understood
from shared.topics.records import Returned

MAX_TRIED: Final = 8
_FIELDS: Final = (RECIPIENT_FIELD.lower(), "list-unsubscribe")
# The rule of shared/responses/rules/unsubscribes.toml.
_MAILTO_RULE: Final = "unsubscribe/token"


def is_complaint(understood: Understood) -> bool:
    """Whether it is a complaint, or a feedback report that asks for no more mail."""
    is_feedback = understood.rule.startswith(FEEDBACK_RULE)
    return understood.kind is ResponseKind.COMPLAINT or (
        is_feedback and understood.kind is ResponseKind.UNSUBSCRIBE
    )


def quoted_header(message: Message, understood: Understood, rules: Rules) -> Fields:
    """Return the header of the message that a complaint returns."""
    return original_header(message, rules) if is_complaint(understood) else NO_FIELDS


def read_tokens(
    returned: Returned,
    message: Message,
    quoted: Fields,
    understood: Understood,
    by: Verification | None,
) -> Sequence[Unsubscription]:
    """Return the valid tokens that name a recipient, in their order, of whatever client."""
    if by is None:
        return ()
    values = [value for name in _FIELDS for value in quoted.get(name)]
    if understood.rule == _MAILTO_RULE:
        subject = first(message.fields, "subject")
        values.append(decode(subject.encode()) if "=?" in subject else subject)
    return _verified(values, by, verp.day_of(returned.received_at_ms))


def _verified(values: Iterable[str], by: Verification, today: int) -> list[Unsubscription]:
    tokens = (token for value in values for token in find_tokens(value))
    read = (
        read_token(by.keys, token, today=today, days_valid=by.days_valid)
        for token in islice(dict.fromkeys(tokens), MAX_TRIED)
    )
    return [each for each in read if isinstance(each, Unsubscription)]
