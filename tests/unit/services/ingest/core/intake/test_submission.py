import pytest
from msgspec.structs import replace

from services.ingest.core.intake.attributes import BAD_HEADER, IntakeAttributes, fault
from services.ingest.core.intake.record_values import UNREADABLE
from services.ingest.core.intake.submission import (
    MAX_CARRIED_BYTES,
    UNREGISTERED,
    Refusal,
    Submission,
    accept,
    mail_id_of,
    received_rows,
)
from shared.mail.headers import scan
from shared.registry.client import Client
from shared.topics import ids
from shared.topics.records import Message, Origin
from shared.topics.submission_keys import checksum_of

CLIENT = Client(
    name="shop",
    sending_domain="news.shop.example",
    forwarding_address="returns@owner.example",
    mailing_id="standard",
)
GOOD = (
    b"From: a@news.shop.example\r\nTo: b@example.com\r\nSubject: hello\r\n"
    b"Message-ID: <1@shop>\r\n\r\nbody\r\n"
)


def submission(content: bytes, offset: int = 1) -> Submission:
    return Submission("shop", Origin("mail.intake.shop", 0, offset), 1_700_000_000_000, content)


def test_a_readable_message_goes_on_with_its_bytes_and_facts() -> None:
    message = accept(submission(GOOD), CLIENT, scan, 5)
    assert isinstance(message, Message)
    assert message.content == GOOD
    envelope = message.envelope
    assert (envelope.client, envelope.sender) == ("shop", "a@news.shop.example")
    assert (envelope.recipient, envelope.message_id) == ("b@example.com", "<1@shop>")
    assert envelope.received_at_ms == 1_700_000_000_000
    assert envelope.origin == Origin("mail.intake.shop", 0, 1)


@pytest.mark.parametrize(
    "content",
    [
        GOOD.replace(b"\r\n", b"\n"),
        GOOD.removesuffix(b"\r\n"),
        GOOD.replace(b"\r\n", b"\n").removesuffix(b"\n"),
        GOOD.removesuffix(b"\r\n") + b"\r",
        GOOD.removesuffix(b"\r\n") + b"\n",
    ],
)
def test_every_kind_of_line_end_makes_the_same_message(content: bytes) -> None:
    normal, message = (accept(submission(each), CLIENT, scan, 5) for each in (GOOD, content))
    assert isinstance(normal, Message)
    assert isinstance(message, Message)
    assert message.content == GOOD
    assert message.envelope.raw_checksum == checksum_of(content)
    assert replace(message.envelope, raw_checksum=b"") == normal.envelope


def test_a_header_of_mixed_line_ends_is_refused_with_its_bytes_as_they_came() -> None:
    content = GOOD.replace(b"\r\n", b"\n", 1)
    refusal = accept(submission(content), CLIENT, scan, 5)
    assert isinstance(refusal, Refusal)
    assert refusal.content == content


def test_reading_a_record_twice_makes_the_same_mail() -> None:
    first, again = (accept(submission(GOOD), CLIENT, scan, now) for now in (5, 9))
    assert first == again
    other = accept(submission(GOOD, offset=2), CLIENT, scan, 5)
    assert isinstance(first, Message)
    assert isinstance(other, Message)
    assert other.envelope.mail_id != first.envelope.mail_id


SENT_AT_MS = 1_700_000_000_000
STAMPS = {
    "seconds": SENT_AT_MS // 1000,
    "ten days old": SENT_AT_MS - 10 * 86_400_000,
    "none": -1,
    "zero": 0,
    "far ahead": 2**62,
    "far back": -(2**62),
}


def stamped(created_at_ms: int, content: bytes = GOOD) -> Submission:
    """A record of a topic that keeps the producer's timestamp."""
    origin = Origin("mail.intake.shop", 0, 1)
    return Submission("shop", origin, 0, content, created_at_ms=created_at_ms)


@pytest.mark.parametrize("created_at_ms", STAMPS.values(), ids=STAMPS)
def test_a_producers_clock_decides_no_time(created_at_ms: int) -> None:
    message = accept(stamped(created_at_ms), CLIENT, scan, SENT_AT_MS)
    assert isinstance(message, Message)
    assert message.envelope.received_at_ms == SENT_AT_MS
    refusal = accept(stamped(created_at_ms, b""), CLIENT, scan, SENT_AT_MS)
    assert isinstance(refusal, Refusal)
    assert refusal.event.received_at_ms == SENT_AT_MS


@pytest.mark.parametrize("created_at_ms", STAMPS.values(), ids=STAMPS)
def test_a_record_stamped_by_its_producer_has_one_mail_id_whenever_it_is_read(
    created_at_ms: int,
) -> None:
    first, later = (mail_id_of(stamped(created_at_ms)) for _ in range(2))
    assert first == later
    assert ids.from_bytes(ids.to_bytes(first)) == first
    # A topic that was deleted and created again has another record at this offset.
    assert mail_id_of(stamped(created_at_ms, GOOD + b"other\r\n")) != first


def test_a_mail_id_begins_with_the_time_at_which_the_broker_appended_the_record() -> None:
    appended = Submission("shop", Origin("t", 0, 1), SENT_AT_MS, GOOD, created_at_ms=-1)
    assert mail_id_of(appended).startswith(ids.time_letters(SENT_AT_MS))


@pytest.mark.parametrize(
    "content",
    [b"", b"\x00\x01\x02\xff" * 50, GOOD.partition(b"\r\n\r\n")[0] + b"\r\n", b"\r\n"],
)
def test_bytes_that_are_no_message_are_refused_with_what_was_found(content: bytes) -> None:
    refusal = accept(submission(content), CLIENT, scan, 5)
    assert isinstance(refusal, Refusal)
    broken, *others = refusal.event.rules
    assert (broken.rule, broken.status) == (UNREADABLE, "5.6.0")
    assert refusal.event.reason.startswith(broken.reason)
    # Missing headers are reported too, except if only the empty line is missing.
    assert [one.rule for one in others] in ([], ["R2", "R3", "R4", "R6"])
    assert refusal.event.mailing_id == "standard"
    assert refusal.content == content


def test_what_can_be_read_in_bytes_that_are_no_message_is_judged_too() -> None:
    content = GOOD.replace(b"Subject:", b"X: y\nBcc: c@d.example\r\nSubject:", 1)
    refusal = accept(submission(content), CLIENT, scan, 5)
    assert isinstance(refusal, Refusal)
    assert [broken.rule for broken in refusal.event.rules] == [UNREADABLE, "R5"]
    assert "Bcc" in refusal.event.reason


def test_a_record_on_the_topic_of_nobody_is_refused_and_says_how_to_mend_it() -> None:
    refusal = accept(submission(GOOD), None, scan, 5)
    assert isinstance(refusal, Refusal)
    assert refusal.event.rules[0].rule == UNREGISTERED
    assert "sluice clients apply" in refusal.event.reason
    assert refusal.event.client == "shop"


def test_what_was_said_beside_the_message_goes_on_in_its_envelope() -> None:
    given = IntakeAttributes("SPRING", '"a"@NEWS.shop.example', 7, 9, "key-1")
    message = accept(replace(submission(GOOD), given=given), CLIENT, scan, 5)
    assert isinstance(message, Message)
    envelope = message.envelope
    assert (envelope.code, envelope.sender) == ("SPRING", "a@news.shop.example")
    assert (envelope.due_at_ms, envelope.expires_at_ms) == (7, 9)
    assert envelope.submission_key == "key-1"


def test_a_sender_that_is_no_address_goes_on_as_it_stood_for_the_rules_to_refuse() -> None:
    message = accept(
        replace(submission(GOOD), given=IntakeAttributes(sender="<>")), CLIENT, scan, 5
    )
    assert isinstance(message, Message)
    assert message.envelope.sender == "<>"


def test_faults_beside_the_message_refuse_it_with_all_of_them() -> None:
    faults = (fault("header ce_id", "x", "is odd"), fault("header ce_type", "y", "is worse"))
    refusal = accept(replace(submission(GOOD), faults=faults), CLIENT, scan, 5)
    assert isinstance(refusal, Refusal)
    assert refusal.event.rules == faults
    assert refusal.event.enhanced == "5.5.4"
    assert refusal.event.rules[0].rule == BAD_HEADER
    assert refusal.event.reason == "The header ce_id is odd; The header ce_type is worse"
    assert refusal.content == GOOD


def test_a_far_too_large_message_goes_on_without_its_body_so_that_all_rules_are_told() -> None:
    message = accept(submission(GOOD + b"x" * MAX_CARRIED_BYTES + b"\r\n"), CLIENT, scan, 5)
    assert isinstance(message, Message)
    assert len(message.content) < 1_000
    assert message.envelope.facts.size_bytes == len(GOOD) + MAX_CARRIED_BYTES + 2


def test_refusals_are_tallied_by_mailing() -> None:
    known = accept(submission(b""), CLIENT, scan, 5)
    nobody = accept(submission(b""), None, scan, 5)
    assert isinstance(known, Refusal)
    assert isinstance(nobody, Refusal)
    rows = received_rows([known, known, nobody])
    assert rows == {
        ("shop", "standard", ""): [known.mail_id, known.mail_id],
        ("shop", "", ""): [nobody.mail_id],
    }
