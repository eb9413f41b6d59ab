"""What validate does with each answer about a submission's key."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from services.validate.core.batch import Judged, assemble, keeps_key
from services.validate.core.verdict import Passed, Refused, Suppressed
from shared.topics import ids
from shared.topics.records import EventType, MailEvent, Message, Origin
from shared.topics.submission_keys import NEW, WITHDRAWN, Conflict, Duplicate
from tests.support.submissions import ENVELOPE, FIRST, FROM_KAFKA, MESSAGE, OWN


def judged(verdict: object, origin: Origin = FROM_KAFKA) -> Judged:
    message = Message(replace(ENVELOPE, origin=origin), MESSAGE.content)
    return Judged(message, verdict)  # type: ignore[arg-type]


EVENT = MailEvent("shop", "standard", recipient="anna@r.example", size_bytes=10, origin=FROM_KAFKA)
PASSED, SUPPRESSED, REFUSED = Passed(ENVELOPE), Suppressed(EVENT), Refused(EVENT)


@pytest.mark.parametrize(
    ("verdict", "origin", "keeps"),
    [
        (PASSED, FROM_KAFKA, True),
        (SUPPRESSED, FROM_KAFKA, True),
        (REFUSED, FROM_KAFKA, False),
        (REFUSED, Origin(peer="192.0.2.1"), True),
    ],
)
def test_a_submission_refused_from_kafka_leaves_its_key_free(
    verdict: object, origin: Origin, keeps: bool
) -> None:
    assert keeps_key(judged(verdict, origin)) is keeps


@pytest.mark.parametrize("verdict", [PASSED, SUPPRESSED])
def test_a_duplicate_goes_no_further_is_told_and_not_counted(verdict: object) -> None:
    batch = assemble([judged(verdict)], {0: Duplicate(ids.to_bytes(FIRST))}, 5)
    assert (batch.passed, batch.waiting, batch.received) == ({}, [], {})
    ((kind, mail_id, event),) = batch.events
    assert (kind, mail_id, event.first_mail_id) == (EventType.DUPLICATE, OWN, FIRST)
    assert FIRST in event.reason
    assert (event.client, event.mailing_id, event.recipient) == (
        "shop",
        "standard",
        "anna@r.example",
    )


@pytest.mark.parametrize("submission_key", ["", "order-1"])
def test_another_content_under_the_key_is_refused_with_the_key_and_the_first(
    submission_key: str,
) -> None:
    envelope = replace(ENVELOPE, submission_key=submission_key)
    one = Judged(Message(envelope, b""), Passed(envelope))
    batch = assemble([one], {0: Conflict(ids.to_bytes(FIRST))}, 5)
    assert batch.passed == {}
    assert batch.received == {("shop", "standard", ""): [OWN]}
    ((kind, mail_id, event),) = batch.events
    assert (kind, mail_id) == (EventType.REFUSED, OWN)
    (broken,) = event.rules
    assert broken.rule == "key_reused"
    assert broken.found == (submission_key or ENVELOPE.message_id)
    assert ("ce_id" if submission_key else "Message-ID") in broken.reason
    assert FIRST in broken.reason


@pytest.mark.parametrize("verdict", [PASSED, SUPPRESSED, REFUSED])
def test_what_was_withdrawn_is_cancelled_and_counted_whatever_the_rules_say(
    verdict: object,
) -> None:
    batch = assemble([judged(verdict)], {0: WITHDRAWN}, 5)
    assert (batch.passed, batch.waiting) == ({}, [])
    assert batch.received == {("shop", "standard", ""): [OWN]}
    ((kind, mail_id, event),) = batch.events
    assert (kind, mail_id, event.rules) == (EventType.CANCELLED, OWN, ())
    assert "451" in event.reason


def test_without_an_answer_or_with_a_free_key_it_goes_on() -> None:
    for answers in ({}, {0: NEW}):
        batch = assemble([judged(PASSED)], answers, 5)
        assert [one.envelope for one in batch.passed["default"]] == [ENVELOPE]
        assert batch.received == {("shop", "standard", ""): [OWN]}
