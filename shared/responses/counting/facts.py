"""Reads the fact about the recipient, for example a bounce, from an event.

Only final failures that concern the recipient are counted: bounces, expired messages and returned
mail of the classes hard and soft. Failures of the classes policy, content, authentication and
network are never counted against a recipient. But these failures are outcomes of the provider, and
incidents.py compares a provider's hard bounces with all its outcomes. This module does no I/O.

This module reads every event, so it decodes only the necessary fields.
"""

from __future__ import annotations

import hashlib
from enum import StrEnum
from typing import Final

import msgspec
from msgspec import Struct

from shared.mail.comparison import comparable
from shared.topics.event_records import TYPE_HEADER, EventRecord, type_of
from shared.topics.records import EventType
from shared.topics.suppressions import field_of

MAIL_BYTES: Final = 8
# The headers of a record are read only up to this header.
LAST_HEADER: Final = TYPE_HEADER
_MAIL: Final = "sluice.mail."


class FactKind(StrEnum):
    """The kinds of facts about a recipient's message."""

    HARD = "hard"
    SOFT = "soft"
    DELIVERED = "delivered"
    COMPLAINED = "complained"
    UNSUBSCRIBED = "unsubscribed"
    OTHER = "other"  # A final failure that is not counted against the recipient.


# The results of an attempt, which are the outcomes of the provider.
OUTCOMES: Final = frozenset({FactKind.HARD, FactKind.SOFT, FactKind.DELIVERED, FactKind.OTHER})


class Fact(Struct, frozen=True, gc=False):
    """One fact about a recipient and a message. `recipient` is in comparison form."""

    kind: FactKind
    client: str
    recipient: str
    mail_id: str
    provider: str = ""  # The provider in the shaping rules, or else the recipient's domain.
    status: str = ""  # The enhanced status code, if the fact is a failure.

    @property
    def field(self) -> bytes:
        """Return the field of the recipient's counter."""
        return field_of(self.client, self.recipient)

    @property
    def mail(self) -> bytes:
        """Return the hash that identifies the message in a counter."""
        return hashlib.blake2b(self.mail_id.encode(), digest_size=MAIL_BYTES).digest()


class _Data(Struct, frozen=True, gc=False):
    client: str
    recipient: str = ""
    bounce_class: str = ""
    enhanced: str = ""
    provider: str = ""


_decoder: Final = msgspec.json.Decoder(_Data)
_RETURNED: Final = (_MAIL + EventType.RETURNED).encode()
_BY_CLASS: Final = {"hard": FactKind.HARD, "soft": FactKind.SOFT}
# None means that the class of the bounce decides the kind.
_KINDS: Final[dict[bytes, FactKind | None]] = {
    (_MAIL + kind).encode(): fact
    for kind, fact in {
        EventType.DELIVERED: FactKind.DELIVERED,
        EventType.COMPLAINED: FactKind.COMPLAINED,
        EventType.UNSUBSCRIBED: FactKind.UNSUBSCRIBED,
        EventType.BOUNCED: None,
        EventType.EXPIRED: None,
        EventType.RETURNED: None,
    }.items()
}


def fact_of(record: EventRecord) -> Fact | None:
    """Return the fact in an event, or None. Raises ValueError if the event is faulty."""
    kind = type_of(record.headers)
    if kind not in _KINDS:
        return None
    try:
        data = _decoder.decode(record.value or b"")
    except RecursionError:
        raise ValueError("the event is nested too deeply") from None
    found = _KINDS[kind]
    if found is None:
        # A returned message is not the result of an attempt, so only the classes hard and soft make
        # it a fact.
        other = None if kind == _RETURNED else FactKind.OTHER
        found = _BY_CLASS.get(data.bounce_class, other)
    recipient = comparable(data.recipient)
    if found is None or not recipient:
        return None
    provider = data.provider or recipient.rpartition("@")[2]
    mail_id = (record.key or b"").decode("utf-8", "replace")
    return Fact(found, data.client, recipient, mail_id, provider, data.enhanced)
