"""The msgspec Structs of the records on the topics: envelopes, returned mail and public events.

This module owns the types. Their encoding is in codec.py. Fields may only be added, and only at the
end and with a default. Golden records in tests/contract check this.

Structs have `gc=False`, because thousands of these objects are created. They cannot be part of a
reference cycle, so the garbage collector need not traverse them.
"""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct


class ReturnAddressKind(StrEnum):
    """The kind of the address to which a message came back, or the reason why there is no such
    address."""

    RETURN_PATH = "return_path"  # The return path of one message. Its HMAC was verified.
    FROM = "from"  # Any other address at a sending domain, for replies and auto-replies.
    POSTMASTER = "postmaster"
    ABUSE = "abuse"
    # There is no address, because the validate service returns the message. It does so if the
    # client wants such messages.
    REFUSED = "refused"
    SUPPRESSED = "suppressed"
    # There is no address, because the deliver service will not try the message again. The value of
    # the record is the header of the message.
    UNDELIVERED = "undelivered"


class Returned(Struct, frozen=True, array_like=True, gc=False):
    """The data of a record of mail.returned, without the bytes of the message.

    The fields from `mailing_id` to `recipient_hash` are taken from a verified return path. For
    other kinds of address, these fields are empty. If the validate or deliver service returned the
    message, `recipient` is the recipient of the message, and `recipient_hash` is empty.
    """

    return_id: str  # 26 characters, like a mail id.
    client: str
    recipient: str  # The address to which the message came back.
    sender: str  # The envelope sender, or "" for the null return path.
    received_at_ms: int
    address_kind: ReturnAddressKind
    peer: str = ""
    mailing_id: str = ""
    sub_client: str = ""
    mail_id: str = ""  # The id of the message that came back.
    recipient_hash: bytes = b""
    # Set if the validate or deliver service returned the message.
    reason: str = ""
    status: str = ""
    # Set if the deliver service returned the message: the bounce class or `expired`, the last reply
    # of the server, the mail servers of the destination, and the time of the submission.
    kind: str = ""
    reply: str = ""
    site: str = ""
    submitted_at_ms: int = 0


class MailClass(StrEnum):
    """The kind of a client's mail. It determines, for example, the pool of sources and the added
    header fields."""

    MARKETING = "marketing"
    TRANSACTIONAL = "transactional"


class OnDoubt(StrEnum):
    """The treatment of a message if it is unknown whether a server has already accepted it."""

    SEND = "send"  # The message is sent again.
    HOLD = "hold"  # The message is held until an operator decides.


class Origin(Struct, frozen=True, array_like=True, gc=False):
    """The source of a submission: a Kafka record, or an SMTP peer if the topic is empty."""

    topic: str = ""
    partition: int = -1
    offset: int = -1
    peer: str = ""


class Facts(Struct, frozen=True, array_like=True, gc=False):
    """The results of the header scan, which the rules need. They are computed by
    shared/mail/headers.py.

    Each *_count is the number of headers with this name. An address is "" if its header is missing,
    is repeated, or does not have exactly one valid address. Each *_raw field has the first value,
    cut to 200 characters, so that a refusal can show this value.
    """

    size_bytes: int = 0
    header_bytes: int = 0
    message_id_count: int = 0
    message_id: str = ""  # "" if the value does not have the form <left@right>
    message_id_raw: str = ""
    to_count: int = 0
    to_address: str = ""
    to_raw: str = ""
    from_count: int = 0
    from_address: str = ""
    from_raw: str = ""
    cc_count: int = 0
    bcc_count: int = 0
    subject_count: int = 0
    subject_empty: bool = True  # True if nothing is left after RFC 2047 decoding and stripping
    reply_to_count: int = 0
    return_path_count: int = 0
    code_count: int = 0
    code: str = ""  # The value of X-bm-mailing, stripped.
    defect: str = ""  # The reason why the bytes are not a message, or "".
    date_count: int = 0


class Attempts(Struct, frozen=True, array_like=True, gc=False):
    """The history of a message's attempts, which is part of the envelope on the retry topics."""

    count: int = 0
    first_dispatched_at_ms: int = 0  # 0 if no destination server has answered MAIL or RCPT yet
    last_reply: str = ""
    last_enhanced: str = ""


class Envelope(Struct, frozen=True, array_like=True, gc=False):
    """The data about a message, without its bytes. Times are Unix milliseconds."""

    mail_id: str
    client: str
    sender: str
    recipient: str
    message_id: str
    received_at_ms: int
    origin: Origin
    facts: Facts
    mailing_id: str = ""
    sub_client: str = ""
    mail_class: MailClass = MailClass.MARKETING
    lane: str = ""
    # The time at which the next step is due, or 0 for now. Until the validate service processes the
    # message, this is the time that the platform asked for. Later, it is the end of the message's
    # hop on the retry topics, or the time of the next attempt.
    due_at_ms: int = 0
    expires_at_ms: int = 0  # 0 if the default of the client or of the installation applies
    attempts: Attempts = Attempts()
    trace: str = ""  # The W3C traceparent.
    code: str = ""  # The mailing code from a Kafka header, or "" if there is no such header.
    submission_key: str = ""  # The platform's idempotency key (ce_id), or "".
    # No attempt begins before this time. The validate service sets this field for a message that
    # waits on the retry topics.
    not_before_ms: int = 0
    # If True, the message's events are also written to the client's topic.
    own_events: bool = False
    # The source of the idempotency key (ce_source), or "". The field is also "" in records that
    # were written before this field existed.
    submission_source: str = ""
    # The checksum of the submitted bytes (checksum_of()). This field is set only if the submitted
    # bytes are not in normal form. Keys that were stored before November 2026 contain this checksum
    # (decision 0035).
    raw_checksum: bytes = b""
    metadata: dict[str, str] = {}  # Names and values from the platform, for the events.
    # If set, this message is sent to a client's forwarding address, and this field has the mail id
    # (or return id) of the message that this message is about. A forwarded message is not billed,
    # and its events are `forwarded` and `forwarding_failed`.
    forwards: str = ""
    on_doubt: OnDoubt = OnDoubt.SEND  # The validate service sets this field.
    # True for a copy on mail.handover that was made while the message was being offered to a
    # server.
    is_offered: bool = False
    # The time since when the message has been held for an operator, because it is in doubt. 0 if
    # the message is not held.
    held_since_ms: int = 0
    pool: str = ""  # The pool of source addresses, or "" if the mail class decides.
    # The versions (see Versions) by which the validate service judged the message.
    rules_version: str = ""
    registry_version: str = ""
    # The estimated time at which a limit will allow the message, or 0 if the message does not wait
    # for a limit. If this time equals `due_at_ms`, the message may be read earlier.
    turn_at_ms: int = 0


class Message(Struct, frozen=True, gc=False):
    """One message in the pipeline: its envelope and its RFC 5322 bytes."""

    envelope: Envelope
    content: bytes


class EventType(StrEnum):
    """The types of events on mail.events. Each type is published as `sluice.mail.<type>`."""

    REFUSED = "refused"
    SUPPRESSED = "suppressed"
    DELIVERED = "delivered"
    BOUNCED = "bounced"
    EXPIRED = "expired"
    CANCELLED = "cancelled"
    DEFERRED = "deferred"
    DUPLICATE = "duplicate"
    IN_DOUBT = "in_doubt"
    RETURNED = "returned"
    COMPLAINED = "complained"
    UNSUBSCRIBED = "unsubscribed"
    SCHEDULED = "scheduled"  # The message waits for its earliest time (`next_attempt_at_ms`).
    # A monthly quota is used up, so the message waits for the next month or a higher quota.
    HELD = "held"
    FORWARDED = "forwarded"  # Returned mail was sent to the client's forwarding address.
    # Returned mail could not be sent to the forwarding address, and there will be no further
    # attempt.
    FORWARDING_FAILED = "forwarding_failed"


FINAL: frozenset[EventType] = frozenset(
    {
        EventType.REFUSED,
        EventType.SUPPRESSED,
        EventType.DELIVERED,
        EventType.BOUNCED,
        EventType.EXPIRED,
        EventType.CANCELLED,
    }
)


class Violation(Struct, frozen=True, omit_defaults=True, gc=False):
    """One reason for a refusal: the rule's id (R1..R12, or a word), reason and status."""

    rule: str
    reason: str
    status: str = ""  # the enhanced status code, RFC 3463
    found: str = ""


class Versions(Struct, frozen=True, omit_defaults=True, gc=False):
    """Short hashes of the rules and entries in force; equal hashes mean equal contents."""

    rules: str = ""  # The submission rules (shared/submission/rules.py).
    registry: str = ""  # The client's entry in the registry.
    shaping: str = ""  # The shaping rules of the process that sent the message.


class MailEvent(Struct, frozen=True, omit_defaults=True, gc=False):
    """The data of a `sluice.mail.*` event. Times are Unix milliseconds."""

    client: str
    mailing_id: str = ""
    sub_client: str = ""
    recipient: str = ""
    message_id: str = ""
    at_ms: int = 0
    received_at_ms: int = 0
    attempt: int = 0
    first_dispatch: bool = False
    first_dispatched_at_ms: int = 0
    reply: str = ""
    enhanced: str = ""
    bounce_class: str = ""  # hard, soft, policy, content, authentication or network
    reason: str = ""
    rules: tuple[Violation, ...] = ()
    lane: str = ""
    site: str = ""
    source: str = ""
    tls: str = ""
    size_bytes: int = 0
    next_attempt_at_ms: int = 0
    origin: Origin | None = None
    first_mail_id: str = ""  # For a duplicate, the mail id of the first submission.
    # The reason why TLS was not used although the server offers TLS, or why the connection did not
    # satisfy the TLS policy.
    tls_fault: str = ""
    author: str = ""  # The operator whose order caused this event.
    submission_id: str = ""  # The platform's own id of the submission (ce_id).
    submission_source: str = ""  # The source of the submission id (ce_source).
    code: str = ""  # The mailing code from the header or the attribute.
    metadata: dict[str, str] = {}  # Names and values that the platform sent with the message.
    # These three fields are for returned mail: its kind (shared/responses/understood.py), the rule
    # that determined the kind, and the return id. The record on mail.returned also contains the
    # return id.
    response: str = ""
    response_rule: str = ""
    return_id: str = ""
    # One of opportunistic, required, verified, mta-sts, mta-sts-testing and dane.
    tls_policy: str = ""
    provider: str = ""  # The provider of the destination, by its name in the shaping rules.
    held: bool = False  # Only for `in_doubt`: True if the message is held for an operator.
    versions: Versions | None = None  # Only for a final event: the versions that applied.
    mail_class: str = ""  # The class of the client's mail: marketing or transactional.


class Event(Struct, frozen=True):
    """A decoded record of mail.events: its id, its type, its subject (the mail id) and its data."""

    id: str
    type: EventType
    subject: str
    data: MailEvent
