"""Turns one intake record into a message for the pipeline, or into a refusal.

This module does no I/O. The ingest service refuses only records that cannot be passed on as a
message: bytes that are not a message, headers that cannot be parsed, and records on the topic of a
client that is not registered or was removed. All other records are passed on to the validate
service, with the results of a single scan of their header, no matter how many rules they violate.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from services.ingest.core.intake.attributes import IntakeAttributes
from shared.mail.address import ParsedAddress, parse_path
from shared.mail.headers import scan_normal_form
from shared.mail.likely_mistakes import mistake_in_bytes
from shared.registry.client import Client
from shared.submission.attribution import broken_rules
from shared.topics import ids
from shared.topics.records import (
    Envelope,
    Facts,
    MailEvent,
    Message,
    Origin,
    Violation,
)
from shared.topics.submission_keys import checksum_of

# A larger message exceeds the limit of R1. So its body is not needed, and only the header and the
# scan results are passed on.
MAX_CARRIED_BYTES: Final = 512 * 1024
# A structured event may have any number of faults. The event of the refusal has at most this number
# of faults.
MAX_FAULTS: Final = 32
UNREGISTERED: Final = "unregistered"
REMOVED: Final = "removed"

Scan = Callable[[bytes], Facts]


class Submission(Struct, frozen=True):
    """One parsed intake record: its origin, time stamps, message and attributes.

    `appended_at_ms` is the time of the broker (LogAppendTime), or 0 if the topic has the times of
    the producers. `created_at_ms` is the time of the producer. The producer may set it to any
    number, because only the mail id depends on `created_at_ms`. A record with `faults` is refused,
    and `content` is the unchanged value of this record.
    """

    client: str
    origin: Origin
    appended_at_ms: int
    content: bytes
    given: IntakeAttributes = IntakeAttributes()
    faults: tuple[Violation, ...] = ()
    created_at_ms: int = 0


class Refusal(Struct, frozen=True):
    """A refused record: its mail id, the event of the refusal, and the bytes of the record."""

    mail_id: str
    event: MailEvent
    content: bytes


def mail_id_of(submission: Submission) -> str:
    """Return the mail id of an intake record. The same record always has the same mail id.

    If there is no append time, the mail id also depends on the content. So if a topic is deleted
    and recreated, the new records do not have the mail ids of the old records at the same offsets.
    """
    origin = submission.origin
    slot = (origin.topic, origin.partition, origin.offset)
    if submission.appended_at_ms:
        return ids.derive(*slot, submission.appended_at_ms)
    return ids.derive(*slot, submission.created_at_ms, submission.content)


def accept(
    submission: Submission, client: Client | None, scan: Scan, now_ms: int
) -> Message | Refusal:
    """Turn a record into a message for the pipeline, or into a refusal."""
    mail_id = mail_id_of(submission)
    if client is None:
        broken = Violation(
            UNREGISTERED,
            f"No client named {submission.client} is registered: register it with "
            "`sluice clients apply`, or publish to your own intake topic",
            "5.7.1",
            submission.origin.topic,
        )
        return _refuse(submission, mail_id, (broken,), "", now_ms)
    if client.removal is not None:
        reason = f"The client {client.name} was removed and takes no more mail"
        broken = Violation(REMOVED, reason, "5.7.1", submission.origin.topic)
        return _refuse(submission, mail_id, (broken,), client.mailing_id, now_ms)
    if submission.faults:
        return _refuse(
            submission, mail_id, submission.faults[:MAX_FAULTS], client.mailing_id, now_ms
        )
    facts, content = scan_normal_form(submission.content, scan)
    envelope = _envelope(submission, mail_id, client, facts, now_ms)
    if facts.defect:
        # Also check the rules for the readable headers, so that the sender sees all violations at
        # once. The size is not checked here, because the validate service owns the limit of the
        # size.
        unreadable, *others = broken_rules(envelope, client, len(content))
        hint = mistake_in_bytes(content)
        reason = f"{unreadable.reason}; {hint}" if hint else unreadable.reason
        first = replace(unreadable, reason=reason, found=repr(content[:60]))
        return _refuse(submission, mail_id, (first, *others), client.mailing_id, now_ms)
    if content is not submission.content:
        envelope = replace(envelope, raw_checksum=checksum_of(submission.content))
    if len(content) > MAX_CARRIED_BYTES:
        content = content[: facts.header_bytes]
    return Message(envelope, content)


def _envelope(
    submission: Submission, mail_id: str, client: Client, facts: Facts, now_ms: int
) -> Envelope:
    given = submission.given
    return Envelope(
        mail_id=mail_id,
        client=client.name,
        sender=_normal(given.sender) if given.sender else facts.from_address,
        recipient=facts.to_address,
        message_id=facts.message_id,
        received_at_ms=submission.appended_at_ms or now_ms,
        origin=submission.origin,
        facts=facts,
        mail_class=client.mail_class,
        due_at_ms=given.not_before_ms,
        expires_at_ms=given.expires_at_ms,
        code=given.code,
        submission_key=given.submission_key,
        submission_source=given.submission_source,
        metadata=given.metadata,
    )


def _normal(sender: str) -> str:
    """Return the address in normal form. Return the address unchanged if it cannot be parsed."""
    parsed = parse_path(sender)
    return parsed.address if isinstance(parsed, ParsedAddress) else sender


def _refuse(
    submission: Submission,
    mail_id: str,
    broken: tuple[Violation, ...],
    mailing_id: str,
    now_ms: int,
) -> Refusal:
    event = MailEvent(
        client=submission.client,
        mailing_id=mailing_id,
        at_ms=now_ms,
        received_at_ms=submission.appended_at_ms or now_ms,
        enhanced=broken[0].status,
        reason="; ".join(one.reason for one in broken),
        rules=broken,
        size_bytes=len(submission.content),
        origin=submission.origin,
        submission_id=submission.given.submission_key,
        submission_source=submission.given.submission_source,
        code=submission.given.code,
        metadata=submission.given.metadata,
    )
    return Refusal(mail_id, event, submission.content)


def received_rows(refusals: Sequence[Refusal]) -> dict[tuple[str, str, str], list[str]]:
    """Return the mail ids of the refused records, by mailing. These records are also counted as
    received."""
    rows: dict[tuple[str, str, str], list[str]] = {}
    for refusal in refusals:
        key = (refusal.event.client, refusal.event.mailing_id, refusal.event.sub_client)
        rows.setdefault(key, []).append(refusal.mail_id)
    return rows
