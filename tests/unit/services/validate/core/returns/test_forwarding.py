"""What goes to the forwarding address, and what it looks like."""

from __future__ import annotations

import email
import email.policy
from email.message import EmailMessage

import pytest
from msgspec.structs import replace

from services.validate.core.returns.forwarding import (
    Cause,
    Returning,
    Way,
    cause_of,
    digest_of,
    is_delay,
    line_of,
    message_of,
    unsent,
    unsent_cause,
    wants,
)
from services.validate.core.returns.notices import MAX_ORIGINAL_BYTES
from services.validate.core.returns.windows import Window, hold
from shared.registry.client import Returns
from shared.responses.understood import ReportedRecipient, ResponseKind, Understood
from shared.smtp.content import has_longer_line, has_only_crlf
from shared.topics.records import MailEvent, Message, ReturnAddressKind
from tests.support.returned_mail import (
    ANNA,
    AT_MS,
    SHOP,
    delivery_report,
    mail_id_of,
    to_return_path,
)

Kind = ReturnAddressKind
WAY = Way(lambda domain: f"lane-of-{domain}", lambda return_id: f"sluice-fw-{return_id}", AT_MS)
RETURNED = to_return_path(1)
EVENT = MailEvent(
    "shop",
    "spring",
    "north",
    ANNA,
    at_ms=AT_MS,
    enhanced="5.1.1",
    reason="550 5.1.1 user unknown",
    response="hard",
    return_id=RETURNED.return_id,
)


def forwarded(content: bytes, event: MailEvent = EVENT) -> Message:
    one = Returning(RETURNED, content, mail_id_of(1), event, Cause.BOUNCED)
    return message_of(one, SHOP, WAY)


def parsed(message: Message) -> EmailMessage:
    found = email.message_from_bytes(message.content, policy=email.policy.default)
    assert isinstance(found, EmailMessage)
    return found


def test_a_bounce_is_inside_as_it_came_with_fields_that_name_it() -> None:
    report = delivery_report(ANNA)
    mail = parsed(forwarded(report))
    assert {name: value for name, value in mail.items() if name.startswith("X-Sluice")} == {
        "X-Sluice-Hop": f"1; sluice-fw-{RETURNED.return_id}",
        "X-Sluice-Client": "shop",
        "X-Sluice-Mailing": "spring",
        "X-Sluice-Sub-Client": "north",
        "X-Sluice-Mail-Id": mail_id_of(1),
        "X-Sluice-Return-Id": RETURNED.return_id,
        "X-Sluice-Cause": "bounced",
        "X-Sluice-Kind": "hard",
        "X-Sluice-Status": "5.1.1",
        "X-Sluice-Recipient": ANNA,
        "X-Sluice-Reason": "550 5.1.1 user unknown",
    }
    assert mail["From"] == "Returned mail <postmaster@news.shop.example>"
    assert mail["To"] == "back@owner.example"
    assert mail["Auto-Submitted"] == "auto-generated"
    assert mail["Subject"] == f"Returned mail (hard 5.1.1): {ANNA}"
    text, inside = mail.iter_parts()
    assert "it was not delivered" in text.get_content()
    assert inside.get_content_type() == "message/rfc822"
    assert report in forwarded(report).content


def test_it_goes_out_with_the_null_return_path_and_names_what_it_forwards() -> None:
    envelope = forwarded(delivery_report(ANNA)).envelope
    assert (envelope.sender, envelope.recipient) == ("", "back@owner.example")
    assert (envelope.forwards, envelope.mail_id) == (mail_id_of(1), RETURNED.return_id)
    assert envelope.lane == "lane-of-owner.example"
    assert envelope.expires_at_ms == AT_MS + SHOP.max_age_s * 1000
    assert (envelope.mailing_id, envelope.sub_client) == ("spring", "north")


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"Subject: x\r\n\r\n", "message/rfc822"),
        (b"", "message/rfc822"),
        (b"Subject: x\r\n\r\ngr\xc3\xbc\xc3\x9fe\r\n", "message/rfc822"),
        (b"Subject: x\n\nbare line ends\r", "message/rfc822"),
        (b"Subject: gr\xfc\xdfe\r\n\r\nx\r\n", "application/octet-stream"),
        (b"Subject: x\r\n\r\nnul \0\r\n", "application/octet-stream"),
        (b"Subject: x\r\n\r\n" + b"long" * 400 + b"\r\n", "application/octet-stream"),
        (bytes(range(256)) * 300, "application/octet-stream"),
        (b"\r\n--=sluice-fw-" + RETURNED.return_id.encode() + b"--\r\n", "message/rfc822"),
    ],
)  # fmt: skip
def test_whatever_came_back_is_one_part_of_a_mail_that_any_server_takes(
    content: bytes, kind: str
) -> None:
    message = forwarded(content)
    assert has_only_crlf(message.content)
    assert not has_longer_line(message.content)
    assert b"\0" not in message.content
    header = message.content.partition(b"\r\n\r\n")[0]
    assert header.isascii()
    parts = list(parsed(message).iter_parts())
    assert [part.get_content_type() for part in parts] == ["text/plain", kind]
    if kind == "application/octet-stream":
        assert parts[1].get_payload(decode=True)


def test_a_large_message_is_cut_and_the_mail_says_so() -> None:
    message = forwarded(b"Subject: x\r\n\r\n" + b"0123456789abcde\n" * 200_000)
    assert len(message.content) < 1.2 * MAX_ORIGINAL_BYTES
    assert parsed(message)["X-Sluice-Cut"] == str(MAX_ORIGINAL_BYTES)
    assert b"Only its first 1,048,576 bytes" in message.content


@pytest.mark.parametrize(
    "reason",
    [
        "550 no\r\nBcc: victim@x.example\r\n\r\nbody",
        "550 \x00\x0b\x0c\x85\u2028\u2029 odd",
        "550 Empfänger unbekannt " * 40,
        "x" * 5_000,
        "550 \ud800 surrogate",
        "",
    ],
)
def test_no_field_can_be_forged_by_what_a_server_said(reason: str) -> None:
    message = forwarded(b"Subject: x\r\n\r\n", replace(EVENT, reason=reason, recipient=""))
    header = message.content.partition(b"\r\n\r\n")[0]
    assert header.isascii()
    names = {line.partition(b":")[0] for line in header.split(b"\r\n") if line[:1] != b" "}
    assert all(name.startswith((b"X-", b"Auto", b"Content", b"M")) or name in {
        b"Date", b"From", b"To", b"Subject"} for name in names)  # fmt: skip
    assert not has_longer_line(message.content)


@pytest.mark.parametrize(
    ("address_kind", "kind", "rule", "sender", "cause"),
    [
        (Kind.RETURN_PATH, ResponseKind.HARD, "delivery-report", "", Cause.BOUNCED),
        (Kind.RETURN_PATH, ResponseKind.UNKNOWN, "none", "", Cause.BOUNCED),
        (Kind.RETURN_PATH, ResponseKind.REPLY, "none", "", Cause.ANSWERED),
        (Kind.FROM, ResponseKind.SOFT, "delivery-report", "", Cause.BOUNCED),
        (Kind.FROM, ResponseKind.UNKNOWN, "none", "", Cause.ANSWERED),
        (Kind.ABUSE, ResponseKind.COMPLAINT, "none", "", Cause.ANSWERED),
        (Kind.POSTMASTER, ResponseKind.UNKNOWN, "none", "", Cause.ANSWERED),
        (Kind.FROM, ResponseKind.UNSUBSCRIBE, "none", "", Cause.ANSWERED),
        (Kind.RETURN_PATH, ResponseKind.UNKNOWN, "delivery-report", ANNA, Cause.BOUNCED),
        (Kind.RETURN_PATH, ResponseKind.UNKNOWN, "none", ANNA, Cause.ANSWERED),
        (Kind.RETURN_PATH, ResponseKind.UNKNOWN, "feedback-report/not-spam", "", Cause.ANSWERED),
        (Kind.RETURN_PATH, ResponseKind.POLICY, "feedback-report/auth-failure", "", Cause.ANSWERED),
    ],
)
def test_a_bounce_is_told_from_an_answer(
    address_kind: ReturnAddressKind, kind: ResponseKind, rule: str, sender: str, cause: Cause
) -> None:
    returned = replace(RETURNED, address_kind=address_kind, sender=sender)
    assert cause_of(returned, kind, rule) is cause


@pytest.mark.parametrize(
    ("recipients", "said"),
    [
        (
            (ReportedRecipient(ANNA, ResponseKind.SOFT, is_final=False),),
            "its delivery is still tried",
        ),
        (
            (
                ReportedRecipient(ANNA, ResponseKind.SOFT, is_final=False),
                ReportedRecipient("b@r.example", ResponseKind.HARD),
            ),
            "it was not delivered",
        ),
        ((), "it was not delivered"),
    ],
)
def test_a_report_of_a_delay_is_not_called_a_failure(
    recipients: tuple[ReportedRecipient, ...], said: str
) -> None:
    understood = Understood(ResponseKind.SOFT, "delivery-report", recipients)
    one = Returning(RETURNED, b"x", mail_id_of(1), EVENT, Cause.BOUNCED, is_delay(understood))
    text = parsed(message_of(one, SHOP, WAY)).get_body(("plain",)).get_content()  # type: ignore[union-attr]
    assert said in text


@pytest.mark.parametrize(
    ("returns", "wanted"),
    [
        ((), {Cause.ANSWERED}),
        ((Returns.BOUNCES,), {Cause.ANSWERED, Cause.BOUNCED}),
        ((Returns.REFUSED,), {Cause.ANSWERED, Cause.REFUSED}),
        ((Returns.SUPPRESSED,), {Cause.ANSWERED, Cause.SUPPRESSED}),
        (tuple(Returns), set(Cause)),
    ],
)
def test_a_client_gets_what_it_wants_and_always_the_answers(
    returns: tuple[Returns, ...], wanted: set[Cause]
) -> None:
    client = replace(SHOP, returns=returns)
    assert {cause for cause in Cause if wants(client, cause)} == wanted


@pytest.mark.parametrize(
    ("address_kind", "cause", "sentence"),
    [
        (ReturnAddressKind.REFUSED, Cause.REFUSED, "it was refused"),
        (ReturnAddressKind.SUPPRESSED, Cause.SUPPRESSED, "gets no more mail"),
    ],
)
def test_a_message_that_never_went_out_comes_back_with_its_reason(
    address_kind: ReturnAddressKind, cause: Cause, sentence: str
) -> None:
    returned = replace(
        RETURNED, address_kind=address_kind, recipient=ANNA, reason="why", status="5.7.1"
    )
    assert unsent_cause(returned) is cause
    message = message_of(unsent(returned, b"Subject: x\r\n\r\n", cause), SHOP, WAY)
    mail = parsed(message)
    assert mail["Subject"] == f"Returned mail ({cause} 5.7.1): {ANNA}"
    assert (mail["X-Sluice-Cause"], mail["X-Sluice-Reason"]) == (cause, "why")
    assert sentence in mail.get_body(("plain",)).get_content()  # type: ignore[union-attr]
    assert message.envelope.forwards == mail_id_of(1)


def test_a_digest_counts_the_kinds_and_lists_the_messages() -> None:
    window = Window("shop", 0, AT_MS, forwarded=3)
    one = Returning(RETURNED, b"", mail_id_of(1), EVENT, Cause.BOUNCED)
    for _ in range(120):
        window = hold(window, "hard", line_of(one))
    window = hold(window, "soft", "x")
    message = digest_of(window, SHOP, WAY)
    mail = parsed(message)
    text = mail.get_content()
    assert mail["Subject"] == "Returned mail: digest of 121 messages"
    assert "3 messages were forwarded, and 121 are listed" in text
    assert "120 hard" in text
    assert text.count(f"hard 5.1.1 {ANNA} {mail_id_of(1)}") == 100
    assert message.envelope.forwards == message.envelope.mail_id
    assert message == digest_of(window, SHOP, WAY)
