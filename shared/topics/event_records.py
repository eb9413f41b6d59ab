"""The records of mail.events: their types, the tallies, and the meanings of the fields of an event.

Programs that read all events check the type of a record before they decode it. A tally has the
number of submissions that were received in one transaction, so there need not be one event per
message. MEANINGS describes each field of an event. The texts in MEANINGS are used in the contract
with the platforms and in the page about events.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

from msgspec import Struct, field

TYPE_HEADER: Final = "ce_type"
MEANINGS: Final[dict[str, str]] = {
    "client": "The client's name",
    "mailing_id": "The mailing ID to which the message belongs",
    "sub_client": "The sub-client that is billed; empty if the code names none",
    "recipient": "The recipient's address",
    "message_id": "The Message-ID with its angle brackets; empty if there is no valid one",
    "at_ms": "When the event happened, in Unix milliseconds",
    "received_at_ms": "When the submission arrived, in Unix milliseconds",
    "attempt": "The attempts made so far, this one included; 0 if there was none",
    "first_dispatch": "Whether a destination server answered MAIL or RCPT for the first time; such "
    "an attempt is billed",
    "first_dispatched_at_ms": "When a server first answered MAIL or RCPT, in Unix milliseconds; "
    "0 if none has",
    "reply": "The answer of the destination server, or of the last attempt",
    "enhanced": "The enhanced status code (RFC 3463) of the reply, or of the first violated rule",
    "bounce_class": "hard, soft, policy, content, authentication or network; empty if an "
    "operator ended the message",
    "reason": "A sentence for people; its wording may change",
    "rules": "The violated rules of a refusal, or the reason word of a suppression",
    "lane": "The lane in which the message was sent",
    "site": "The mail servers of the destination, or the server of a route override",
    "source": "Our address from which the message was sent",
    "tls": "The TLS version of the connection; empty without TLS",
    "size_bytes": "The size of the message",
    "next_attempt_at_ms": "When a deferred or scheduled message is due, in Unix milliseconds",
    "origin": "Where the submission came from: topic, partition, offset, or the SMTP peer",
    "first_mail_id": "Of a duplicate: the mail id of the first submission",
    "tls_fault": "Why there was no TLS although the server offers it",
    "author": "The operator whose order caused the event; empty if none did",
    "submission_id": "The platform's own id of the submission (`ce_id`)",
    "submission_source": "The source of the submission's id (`ce_source`)",
    "code": "The mailing code, from the header of the message or the attribute",
    "metadata": "The names and values that the platform gave with the message (`ce_metadata`)",
    "response": "Of returned mail: its kind: hard, soft, policy, content, auto-reply, reply, "
    "complaint, unsubscribe or unknown",
    "response_rule": "Of returned mail: the rule that decided its kind",
    "return_id": "Of returned mail: its own id, that of its record on `mail.returned`",
    "tls_policy": "The TLS policy of the connection: opportunistic, required, verified, mta-sts,"
    " mta-sts-testing or dane",
    "provider": "The mailbox provider of the destination, as the shaping rules name it; empty for"
    " all others",
    "held": "Whether a message in doubt is held until an operator sends or drops it",
    "mail_class": "The kind of mail of the client: marketing or transactional",
    "versions": "Short hashes of what was in force when the message ended: the submission rules "
    "(`rules`) and the client's entry in the registry (`registry`) when it was judged, the shaping "
    "rules (`shaping`) of the process that sent it",
}


class EventRecord(Protocol):
    """The fields of a Kafka record that are used to read events."""

    @property
    def headers(self) -> Sequence[tuple[str, bytes]]:
        """Return the names and values of the headers."""
        ...

    @property
    def key(self) -> bytes | None:
        """The mail id."""
        ...

    @property
    def value(self) -> bytes | None:
        """The value."""
        ...


def type_of(headers: Sequence[tuple[str, bytes]]) -> bytes:
    """Return the type of the event. Return b"" if there is no header with the type."""
    # encode_event() writes the type as the third header, but other producers may write it at any
    # place.
    if len(headers) > 2 and headers[2][0] == TYPE_HEADER:
        return headers[2][1]
    return next((value for name, value in headers if name == TYPE_HEADER), b"")


class TallyRow(Struct, frozen=True, array_like=True, gc=False):
    """The submissions of one mailing in a transaction: their number and their mail ids."""

    client: str
    mailing_id: str
    sub_client: str
    received: int
    mail_ids: tuple[str, ...] = ()  # empty in records that an earlier version wrote


class Tally(Struct, frozen=True):
    """The data of a `sluice.tally` event: the submissions received in one transaction."""

    service: str
    at_ms: int
    rows: tuple[TallyRow, ...] = field(default_factory=tuple)
