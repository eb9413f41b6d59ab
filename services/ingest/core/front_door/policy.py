"""The front door's replies to MAIL, RCPT and DATA, and its memory limit. This module does no I/O.

This module owns the checks of the rules that need only the envelope, the texts of the replies, the
envelope of a message that came by SMTP, and the limits of the bytes that each client may hold. It
does not own the rules (shared/submission/rules.py), the order of commands (shared/smtp) and logins
(edge/front_door/login_policy.py).

A refusal at MAIL or RCPT is only a reply to a command. There is no message yet, so nothing is
counted and no event is published. A complete message that violates rules is refused after DATA, and
the refusal lists all violations. This refusal is published as an event, as for a message that came
by Kafka.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from shared.mail.address import parse_path
from shared.mail.address_faults import AddressFault
from shared.registry.client import Client
from shared.smtp.reply import Reply
from shared.submission.attribution import (
    attribute,
    broken_rules,
    refused_event,
    reused_event,
    unsent_event,
)
from shared.submission.rules import RULES
from shared.topics.records import Envelope, Facts, MailEvent, Message, Origin, Violation

ONE_RECIPIENT: Final = Reply(
    452, "4.5.3", "R3: one recipient per message; send it to each of the others separately"
)
MAX_REASON_CHARS: Final = 400

_REASONS: Final = {rule.id: rule for rule in RULES}
_REFUSED: Final = 550

_SHARES_OF_CLIENT: Final = 2
# A client may hold at most this many times the memory that is still free. So there is room for
# other clients even if several clients use their whole shares (decision 0284).
_PARTS_OF_WHAT_IS_LEFT: Final = 2


class Peer(Struct, frozen=True):
    """The submitter of a message: the logged-in client, and its address."""

    client: Client
    address: str
    max_size_bytes: int


class Arrival(Struct, frozen=True):
    """A message that was received: its mail id, envelope addresses, scan results and time."""

    mail_id: str
    sender: str
    recipient: str
    facts: Facts
    at_ms: int


class HeldBytes:
    """Counts the bytes that all connections of the front door hold in memory.

    From DATA on, a connection holds the size of the largest permitted message. So a message that
    has begun to arrive is never refused because memory is full, no matter how slowly it arrives.
    One client may hold at most half of the memory, and at most twice the memory that is still free.
    So one or two clients can never prevent all others from sending, because each further client
    gets a smaller share and some memory is always free. If there is room, a client may always hold
    one message, even if the message exceeds the client's share.
    """

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._total_bytes = 0
        self._by_client: Counter[str] = Counter()

    def has_room(self, client: str, size_bytes: int) -> bool:
        """Return True if this client may hold `size_bytes` further bytes."""
        before_bytes = self._by_client[client]
        left_bytes = self._most_bytes - self._total_bytes - size_bytes
        share_bytes = min(
            self._most_bytes // _SHARES_OF_CLIENT, left_bytes * _PARTS_OF_WHAT_IS_LEFT
        )
        is_first = not before_bytes
        return left_bytes >= 0 and (is_first or before_bytes + size_bytes <= share_bytes)

    def add(self, client: str, size_bytes: int) -> None:
        """Add `size_bytes`, which may be negative, to the bytes that this client holds."""
        self._total_bytes += size_bytes
        self._by_client[client] += size_bytes
        if self._by_client[client] <= 0:
            del self._by_client[client]  # clients that hold no bytes are removed


def judge_sender(client: Client, sender: str) -> Reply | None:
    """Return the refusal of an envelope sender, or None if the sender is accepted (rules R9 and
    R10)."""
    if not sender:
        return _refusal("R9", "the envelope sender is empty")
    parsed = parse_path(sender)
    if isinstance(parsed, AddressFault):
        return _refusal("R10", parsed.reason)
    if parsed.domain != client.sending_domain:
        return _refusal("R10", f"{parsed.domain} is not {client.sending_domain}")
    return None


def judge_recipient(address: str, taken: int) -> Reply | None:
    """Return the refusal of a recipient, or None if the recipient is accepted (rule R3)."""
    if taken:
        return ONE_RECIPIENT
    parsed = parse_path(address)
    if isinstance(parsed, AddressFault):
        return _refusal("R3", parsed.reason)
    return None


def judge_arrival(peer: Peer, arrival: Arrival) -> Message | MailEvent:
    """Return the message for the pipeline, without its content. If the message is refused, return
    the event of the refusal."""
    envelope = attribute(_envelope(peer, arrival), peer.client)
    broken = broken_rules(envelope, peer.client, peer.max_size_bytes)
    if broken:
        return refused_event(envelope, broken, arrival.at_ms)
    # The scan results have the addresses of the envelope (R3, R9) in normal form.
    facts = arrival.facts
    return Message(replace(envelope, sender=facts.from_address, recipient=facts.to_address), b"")


def judge_unfit(peer: Peer, arrival: Arrival, refusal: Reply) -> MailEvent:
    """Return the event for content that is refused because of its size (R1) or because of invalid
    line ends."""
    is_too_large = arrival.facts.size_bytes > peer.max_size_bytes
    reason = f"{arrival.facts.size_bytes} bytes, {peer.max_size_bytes} are allowed"
    rule_id = "R1" if is_too_large else "unreadable"
    text = f"{_REASONS['R1'].reason}: {reason}" if is_too_large else refusal.text
    broken = Violation(rule_id, text, refusal.enhanced)
    envelope = attribute(_envelope(peer, arrival), peer.client)
    return refused_event(envelope, (broken,), arrival.at_ms)


def key_conflict(envelope: Envelope, first_mail_id: str) -> MailEvent:
    """Return the event for a message whose submission key belongs to another, earlier message.

    The reply to the client lists the violations in this event.
    """
    event = unsent_event(envelope, "", envelope.received_at_ms)
    return reused_event(event, envelope, first_mail_id)


def refusal_reply(broken: Sequence[Violation]) -> Reply:
    """Return a 550 reply that lists all violated rules, one per line, with status code and
    reason."""
    lines = [f"{rule.rule} ({rule.status}): {_one_line(rule.reason)}" for rule in broken]
    return Reply(_REFUSED, broken[0].status, "\n".join(lines))


def accepted_reply(mail_id: str) -> Reply:
    """Return a 250 reply with the mail id."""
    return Reply(250, "2.0.0", f"Ok: queued as {mail_id}")


def _refusal(rule_id: str, cause: str) -> Reply:
    rule = _REASONS[rule_id]
    reason = _one_line(f"{rule.reason}: {cause}")
    return Reply(_REFUSED, rule.status, f"{rule.id}: {reason}")


def _one_line(text: str) -> str:
    """Turn text into printable ASCII for a reply, because some clients do not support SMTPUTF8."""
    shown = text.encode("ascii", "backslashreplace").decode("ascii")
    shown = "".join(letter if letter.isprintable() else " " for letter in shown)
    return shown[:MAX_REASON_CHARS]


def _envelope(peer: Peer, arrival: Arrival) -> Envelope:
    """Return the envelope as the peer sent it."""
    return Envelope(
        mail_id=arrival.mail_id,
        client=peer.client.name,
        sender=arrival.sender,
        recipient=arrival.recipient,
        message_id=arrival.facts.message_id,
        received_at_ms=arrival.at_ms,
        origin=Origin(peer=peer.address),
        facts=arrival.facts,
        mail_class=peer.client.mail_class,
    )
