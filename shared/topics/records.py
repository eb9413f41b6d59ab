"""The msgspec Structs of records on the topics: the envelope, returned mail and public events.

Owns: the shapes. Does not own: their bytes (codec.py). Fields are only ever added, at the end and
with a default; golden records in tests/contract check this.

`gc=False`: thousands of these objects are created, and they cannot be part of a reference cycle, so
the garbage collector need not traverse them.
"""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct


class ReturnAddressKind(StrEnum):
    """The kind of the address to which a message came back, or the reason why there is none."""

    RETURN_PATH = "return_path"  # The VERP address of one message; the HMAC was verified.
    FROM = "from"  # An address at a sending domain: replies and auto-replies.
    POSTMASTER = "postmaster"
    ABUSE = "abuse"
    # No address: validate returns the message, if its client asks for such messages.
    REFUSED = "refused"
    SUPPRESSED = "suppressed"
    # No address: deliver gave up the message. The value of the record is the message's header.
    UNDELIVERED = "undelivered"


class Returned(Struct, frozen=True, array_like=True, gc=False):
    """The data of a record of mail.returned, without the bytes of the message.

    The fields from `mailing_id` to `recipient_hash` are taken from a verified return path; for
    other kinds of address these fields are empty. If validate or deliver returned the message,
    `recipient` is the recipient of the message, and the hash is empty.
    """

    return_id: str  # 26 letters, like a mail id
    client: str
    recipient: str  # The address to which the message came back.
    sender: str  # The envelope sender; "" is the null return path.
    received_at_ms: int
    address_kind: ReturnAddressKind
    peer: str = ""
    mailing_id: str = ""
    sub_client: str = ""
    mail_id: str = ""  # the id of the message that came back
    recipient_hash: bytes = b""
    # Set for a message that was never sent, or that deliver gave up.
    reason: str = ""
    status: str = ""
    # Set for a message that deliver gave up: its bounce class or `expired`, the server's last
    # reply, the mail servers of its destination, the time of its submission.
    kind: str = ""
    reply: str = ""
    site: str = ""
    submitted_at_ms: int = 0


class MailClass(StrEnum):
    """The kind of mail, which determines the lanes and, later, headers."""

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
    """Results of the header scan that the rules need (shared/mail/headers.py fills them).

    Each *_count is the number of header lines with this name. An address is "" if its header is
    missing, repeated or not exactly one valid address. The *_raw fields keep the first value (cut
    to 200 characters), so that a refusal can show this value.
    """

    size_bytes: int = 0
    header_bytes: int = 0
    message_id_count: int = 0
    message_id: str = ""  # "" if it does not have the form <left@right>
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
    subject_empty: bool = True  # after RFC 2047 decoding and stripping
    reply_to_count: int = 0
    return_path_count: int = 0
    code_count: int = 0
    code: str = ""  # The value of X-bm-mailing, stripped.
    defect: str = ""  # Why the bytes cannot be parsed as a message; "" if they can.
    date_count: int = 0


class Attempts(Struct, frozen=True, array_like=True, gc=False):
    """The history of attempts, which is part of the envelope on the retry topics."""

    count: int = 0
    first_dispatched_at_ms: int = 0  # 0: no destination server has answered MAIL or RCPT yet
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
    # The time at which the next step is due. Before validate: the time that the platform asked for.
    # After validate: the end of the message's hop on the retry topics, or the next attempt. 0: now.
    due_at_ms: int = 0
    expires_at_ms: int = 0  # 0: the default of the client or the installation applies
    attempts: Attempts = Attempts()
    trace: str = ""  # The W3C traceparent.
    code: str = ""  # The mailing code from a Kafka header; "" if there is none.
    submission_key: str = ""  # The platform's idempotency key (ce_id); "" if there is none.
    # No attempt begins before this time. Validate sets this time for a message that waits on the
    # retry topics.
    not_before_ms: int = 0
    own_events: bool = False  # Set by validate: deliver copies its events to the client's topic.
    # The source of the idempotency key (ce_source); "" also in records from before this field
    # existed.
    submission_source: str = ""
    # The checksum of the submitted bytes (checksum_of()), if their normal form differs from them.
    # Keys stored before November 2026 contain this checksum (decision 0035).
    raw_checksum: bytes = b""
    metadata: dict[str, str] = {}  # Names and values from the platform; events include them.
    # If set, this message goes to a client's forwarding address and is about the message with this
    # mail id (or return id). Such a message is not billed, and its events are `forwarded` and
    # `forwarding_failed`.
    forwards: str = ""
    on_doubt: OnDoubt = OnDoubt.SEND  # Validate sets this field.
    # For a copy on mail.handover: the copy was made while the message was being offered to a
    # server.
    is_offered: bool = False
    # The time since which the message is held for an operator, because a server may have it. 0: the
    # message is not held.
    held_since_ms: int = 0
    pool: str = ""  # The pool of source addresses in the registry; "": the mail class decides.
    # The versions (see Versions) by which validate judged the message.
    rules_version: str = ""
    registry_version: str = ""
    # The estimated time at which a limit will allow the message. If this equals `due_at_ms`, the
    # message may be read earlier. 0: the message does not wait for a limit.
    turn_at_ms: int = 0


class Message(Struct, frozen=True, gc=False):
    """One message in the pipeline: its envelope and its RFC 5322 bytes."""

    envelope: Envelope
    content: bytes


class EventType(StrEnum):
    """The event types of mail.events; each is published as `sluice.mail.<type>`."""

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
    # Returned mail could not be sent to this address, and there will be no further attempt.
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
    status: str = ""  # enhanced status code, RFC 3463
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
    bounce_class: str = ""  # hard, soft, policy, content, authentication, network
    reason: str = ""
    rules: tuple[Violation, ...] = ()
    lane: str = ""
    site: str = ""
    source: str = ""
    tls: str = ""
    size_bytes: int = 0
    next_attempt_at_ms: int = 0
    origin: Origin | None = None
    first_mail_id: str = ""  # If this submission is a duplicate: the mail id of the first one.
    # Why TLS was not used although the server offers TLS, or why the connection did not satisfy the
    # TLS policy.
    tls_fault: str = ""
    author: str = ""  # The operator whose order caused this event.
    submission_id: str = ""  # The platform's own id of the submission (ce_id).
    submission_source: str = ""  # The source of this id (ce_source).
    code: str = ""  # The mailing code from the header or the attribute.
    metadata: dict[str, str] = {}  # Names and values that the platform sent with the message.
    # For returned mail: its kind (shared/responses/understood.py), the rule that determined the
    # kind, and the return id, which is also in its record on mail.returned.
    response: str = ""
    response_rule: str = ""
    return_id: str = ""
    # opportunistic, required, verified, mta-sts, mta-sts-testing, dane
    tls_policy: str = ""
    provider: str = ""  # The destination's provider, as named in the shaping rules.
    held: bool = False  # Only for `in_doubt`: the message is held until an operator decides.
    versions: Versions | None = None  # Only for a final event: the versions in force.
    mail_class: str = ""  # The class of the client's mail: marketing, transactional.


class Event(Struct, frozen=True):
    """A decoded record of mail.events: its type, id, subject (mail id) and data."""

    id: str
    type: EventType
    subject: str
    data: MailEvent
