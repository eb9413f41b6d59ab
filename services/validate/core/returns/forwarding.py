"""Decides which mail goes to a client's forwarding address, and composes the messages for it. Pure.

There are three reasons why mail did not arrive: the mail bounced, the mail was refused (its header
is invalid, or it belongs to no mailing), or its recipient is suppressed. All other mail that comes
back is an answer.

The composed messages have the null return path, so that they cause no bounces. Each composed
message contains the id of the message that it forwards. Therefore composed messages are neither
billed nor counted as mail of the client.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from services.validate.core.returns.notices import (
    MAX_ORIGINAL_BYTES,
    Notice,
    compose,
    is_cut,
    report_of,
)
from services.validate.core.returns.windows import Window
from shared.mail.domains import domain_of
from shared.registry.client import Client, Returns
from shared.responses.reading import UNKNOWN_RULE
from shared.responses.reports.feedback import FEEDBACK_RULE
from shared.responses.understood import ResponseKind, Understood
from shared.topics import ids
from shared.topics.records import (
    Envelope,
    Facts,
    MailEvent,
    Message,
    Origin,
    ReturnAddressKind,
    Returned,
)


class Cause(StrEnum):
    """The reason why a message comes back."""

    BOUNCED = "bounced"
    REFUSED = "refused"
    SUPPRESSED = "suppressed"
    ANSWERED = "answered"


_UNSENT: Final = {
    ReturnAddressKind.REFUSED: Cause.REFUSED,
    ReturnAddressKind.SUPPRESSED: Cause.SUPPRESSED,
    ReturnAddressKind.UNDELIVERED: Cause.BOUNCED,
}
_BOUNCES: Final = frozenset(
    {ResponseKind.HARD, ResponseKind.SOFT, ResponseKind.POLICY, ResponseKind.CONTENT}
)
_WANTED_BY: Final = {
    Cause.BOUNCED: Returns.BOUNCES,
    Cause.REFUSED: Returns.REFUSED,
    Cause.SUPPRESSED: Returns.SUPPRESSED,
}
_SENTENCES: Final = {
    Cause.BOUNCED: "This message came back: it was not delivered.",
    Cause.REFUSED: "This message was not sent: it was refused.",
    Cause.SUPPRESSED: "This message was not sent: its recipient gets no more mail from you.",
    Cause.ANSWERED: "This message came back to your sending domain.",
}

_DELAYED: Final = "This report says that the message is delayed: its delivery is still tried."


class Returning(Struct, frozen=True):
    """One returned message and its event. `subject` is the mail id or, if there is none, the return
    id."""

    returned: Returned
    content: bytes
    subject: str
    event: MailEvent
    cause: Cause
    is_delay: bool = False  # the report says that delivery is still being tried

    @property
    def kind(self) -> str:
        """Return the kind of the report; for a message that was never sent, return the cause."""
        return self.event.response or self.cause.value


class Way(Struct, frozen=True):
    """The data for sending mail: `lane_of` returns the lane of a domain, and `hop_of` returns the
    hop of a return id."""

    lane_of: Callable[[str], str]
    hop_of: Callable[[str], str]
    now_ms: int


def unsent_cause(returned: Returned) -> Cause | None:
    """Return the cause if the validate service or the deliver service wrote the message to
    mail.returned; None if the message came back by mail."""
    return _UNSENT.get(returned.address_kind)


def unsent(returned: Returned, content: bytes, cause: Cause) -> Returning:
    """Return the value Returning for a message that the validate service or the deliver service
    wrote to mail.returned. The same service has also written the event."""
    event = MailEvent(
        client=returned.client,
        mailing_id=returned.mailing_id,
        sub_client=returned.sub_client,
        recipient=returned.recipient,
        at_ms=returned.received_at_ms,
        enhanced=returned.status,
        reason=returned.reason,
        response=returned.kind,
        return_id=returned.return_id,
    )
    return Returning(returned, content, returned.mail_id, event, cause)


def cause_of(returned: Returned, kind: ResponseKind, rule: str) -> Cause:
    """Return the cause of mail that came back: bounced, or answered.

    Mail that no rule recognises is a bounce only if it has the null sender and was sent to a return
    path. Other mail, for example a person's letter, may be about a delivered message.
    """
    if rule.startswith(FEEDBACK_RULE):
        return Cause.ANSWERED  # the report is about delivered mail, or about mail of somebody else
    if kind is not ResponseKind.UNKNOWN:
        return Cause.BOUNCED if kind in _BOUNCES else Cause.ANSWERED
    is_to_path = returned.address_kind is ReturnAddressKind.RETURN_PATH
    is_known = rule != UNKNOWN_RULE
    return Cause.BOUNCED if is_to_path and (is_known or not returned.sender) else Cause.ANSWERED


def is_delay(understood: Understood) -> bool:
    """Return True if the report names recipients and delivery to all these recipients is still
    being tried."""
    recipients = understood.recipients
    return bool(recipients) and not any(each.is_final for each in recipients)


def wants(client: Client, cause: Cause) -> bool:
    """Return whether the client wants mail with this cause; always True for answers."""
    wanted = _WANTED_BY.get(cause)
    return wanted is None or wanted in client.returns


def message_of(one: Returning, client: Client, way: Way) -> Message:
    """Return the mail that forwards one returned message."""
    event, return_id = one.event, one.returned.return_id
    hop = way.hop_of(return_id)
    about = event.recipient or one.returned.sender or "an unknown address"
    status = f" {event.enhanced}" if event.enhanced else ""
    cut = str(MAX_ORIGINAL_BYTES) if is_cut(one.content) else ""
    report = report_of(one.returned, one.content, client.sending_domain, way.now_ms)
    content = compose(
        Notice(
            sending_domain=client.sending_domain,
            recipient=client.forwarding_address,
            message_id=f"<{hop}@{client.sending_domain}>",
            hop=hop,
            subject=f"Returned mail ({one.kind}{status}): {about}",
            fields=(*_fields(one), ("X-Sluice-Cut", cut)),
            text=(_sentence(one), "", *_lines(one), *_note(cut, report)),
            at_ms=way.now_ms,
            original=None if report else one.content,
            report=report,
        )
    )
    envelope = replace(
        _envelope(client, return_id, way, content),
        forwards=one.subject,
        mailing_id=event.mailing_id,
        sub_client=event.sub_client,
    )
    return Message(envelope, content)


def digest_of(window: Window, client: Client, way: Way) -> Message:
    """Return the digest of the messages held in a window. The window has ended and holds at least
    one message."""
    number = sum(window.held.values())
    digest_id = ids.derive(
        f"digest/{client.name}", window.partition, window.begun_ms, window.begun_ms
    )
    hop = way.hop_of(digest_id)
    kinds = (f"{count:>8,} {kind}" for kind, count in sorted(window.held.items()))
    content = compose(
        Notice(
            sending_domain=client.sending_domain,
            recipient=client.forwarding_address,
            message_id=f"<{hop}@{client.sending_domain}>",
            hop=hop,
            subject=f"Returned mail: digest of {number:,} messages",
            fields=(("X-Sluice-Client", client.name), ("X-Sluice-Kind", "digest")),
            text=(
                f"From {_time(window.begun_ms)} to {_time(way.now_ms)} more mail came back than is"
                " forwarded one by one.",
                f"{window.forwarded:,} messages were forwarded, and {number:,} are listed here:",
                "",
                *kinds,
                "",
                *window.listed,
                *(["..."] if number > len(window.listed) else []),
            ),
            at_ms=way.now_ms,
        )
    )
    envelope = _envelope(client, digest_id, way, content)
    return Message(replace(envelope, forwards=digest_id), content)


def line_of(one: Returning) -> str:
    """Return the line of a digest that lists this message."""
    event = one.event
    words = (_time(event.at_ms), one.kind, event.enhanced, event.recipient, one.subject)
    return " ".join(word for word in words if word)


def _sentence(one: Returning) -> str:
    return _DELAYED if one.is_delay and one.cause is Cause.BOUNCED else _SENTENCES[one.cause]


def _fields(one: Returning) -> tuple[tuple[str, str], ...]:
    event = one.event
    return (
        ("X-Sluice-Client", event.client),
        ("X-Sluice-Mailing", event.mailing_id),
        ("X-Sluice-Sub-Client", event.sub_client),
        ("X-Sluice-Mail-Id", "" if one.subject == event.return_id else one.subject),
        ("X-Sluice-Return-Id", event.return_id),
        ("X-Sluice-Cause", one.cause.value),
        ("X-Sluice-Kind", one.kind),
        ("X-Sluice-Status", event.enhanced),
        ("X-Sluice-Recipient", event.recipient),
        ("X-Sluice-Reason", event.reason),
    )


def _lines(one: Returning) -> tuple[str, ...]:
    return tuple(
        f"{name.removeprefix('X-Sluice-').replace('-', ' ')}: {value}"
        for name, value in _fields(one)
        if value
    )


def _note(cut: str, report: Sequence[bytes]) -> tuple[str, ...]:
    if report:
        return ("", "The report and the header of the message are attached. Its body is not kept.")
    return ("", f"Only its first {int(cut):,} bytes are attached.") if cut else ()


def _time(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _envelope(client: Client, mail_id: str, way: Way, content: bytes) -> Envelope:
    return Envelope(
        mail_id=mail_id,
        client=client.name,
        sender="",
        recipient=client.forwarding_address,
        message_id="",
        received_at_ms=way.now_ms,
        origin=Origin(),
        facts=Facts(size_bytes=len(content)),
        lane=way.lane_of(domain_of(client.forwarding_address)),
        expires_at_ms=way.now_ms + int(client.max_age_s * 1000),
        own_events=client.own_events,
    )
