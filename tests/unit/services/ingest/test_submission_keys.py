"""When two submissions are duplicates, and the consequences."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from services.ingest.edge.front_door import outbox
from services.ingest.edge.front_door.mail_ids import MailIds
from services.ingest.edge.front_door.message_writer import plan_writes
from services.ingest.edge.front_door.outbox import KeyConflict, PendingWrite, Written
from services.validate.core.batch import Judged, assemble, keeps_key
from services.validate.core.verdict import Passed, Refused, Suppressed
from shared.topics import ids, names
from shared.topics.codec import CodecError, decode_event, decode_pack
from shared.topics.records import Envelope, Event, EventType, MailEvent, Message, Origin
from shared.topics.submission_keys import (
    CLAIM_BYTES,
    FORMER_BYTES,
    NEW,
    WITHDRAWN,
    Answer,
    Claim,
    Conflict,
    Duplicate,
    Reserved,
    checksum_of,
    claim_of,
    content_of,
    decode_record,
    encode_claims,
    encode_formers,
    encode_record,
    key_of,
    place_of,
)
from tests.support.submissions import ENVELOPE, FIRST, FROM_KAFKA, MESSAGE, OWN


@pytest.mark.parametrize(
    ("changes", "is_same"),
    [
        ({}, True),
        ({"mail_id": FIRST, "origin": Origin(), "sender": "x@y.example"}, True),
        ({"client": "other"}, False),
        ({"message_id": "<2@news.shop.example>"}, False),
        ({"recipient": "berta@r.example"}, False),
        ({"submission_key": "order-1"}, False),
        # Neither value may run into the other.
        ({"client": "sho", "message_id": "p<1@news.shop.example>"}, False),
    ],
)
def test_the_key_is_client_message_id_and_recipient(
    changes: dict[str, object], is_same: bool
) -> None:
    assert (key_of(replace(ENVELOPE, **changes)) == key_of(ENVELOPE)) is is_same


def test_a_key_given_by_the_platform_counts_alone() -> None:
    given_key = replace(ENVELOPE, submission_key="order-1")
    other = replace(given_key, message_id="<2@news.shop.example>", recipient="berta@r.example")
    assert key_of(other) == key_of(given_key)
    assert key_of(replace(other, client="other")) != key_of(given_key)


def test_a_key_given_by_the_platform_is_one_of_its_source() -> None:
    shop = replace(ENVELOPE, submission_key="7", submission_source="/shop")
    old = replace(ENVELOPE, submission_key="7")
    found = {
        key_of(shop),
        key_of(replace(shop, submission_source="/crm")),
        key_of(replace(shop, submission_source="/shop7", submission_key="")),
        key_of(replace(shop, submission_source="/sho", submission_key="p7")),
        key_of(old),
    }
    assert len(found) == 5


# A message as submitted, and as an older ingest would have passed it on.
LF = MESSAGE.content.replace(b"\r\n", b"\n")
WITH_SOURCE = replace(ENVELOPE, submission_key="7", submission_source="/shop")


@pytest.mark.parametrize(
    ("message", "former"),
    [
        (MESSAGE, ()),
        (
            Message(replace(ENVELOPE, raw_checksum=checksum_of(LF)), MESSAGE.content),
            (ENVELOPE, LF),
        ),
        (Message(ENVELOPE, LF), (ENVELOPE, LF)),
        (
            Message(WITH_SOURCE, MESSAGE.content),
            (replace(ENVELOPE, submission_key="7"), MESSAGE.content),
        ),
        (
            Message(replace(WITH_SOURCE, raw_checksum=checksum_of(LF)), MESSAGE.content),
            (replace(ENVELOPE, submission_key="7"), LF),
        ),
    ],
)
def test_a_claim_names_key_and_content_as_older_versions_stored_them(
    message: Message, former: tuple[Envelope, bytes] | tuple[()]
) -> None:
    claim = claim_of(message, 1)
    assert (claim.key, claim.content) == (key_of(message.envelope), content_of(MESSAGE.content))
    assert claim.former == (key_of(former[0]) + checksum_of(former[1]) if former else b"")
    others = [claim_of(MESSAGE, 2), claim]
    assert len(encode_formers(others)) == (2 * FORMER_BYTES if former else 0)


TRACE = b"Received: from a\r\n\tby b;\r\n Mon\r\nRECEIVED: x\r\n"


@pytest.mark.parametrize(
    ("content", "is_same"),
    [
        (MESSAGE.content, True),
        (TRACE + MESSAGE.content, True),
        (b"Received: from a\nreceived:\n" + MESSAGE.content, True),
        (MESSAGE.content.replace(b"\r\n", b"\n"), True),
        (MESSAGE.content.replace(b"\r\n", b"\r"), True),
        (MESSAGE.content.removesuffix(b"\r\n"), True),
        (TRACE.replace(b"\r\n", b"\n") + MESSAGE.content.removesuffix(b"\r\n"), True),
        (MESSAGE.content + b"\r\n", False),
        (MESSAGE.content + b"x", False),
        (b"X-Received: a\r\n" + MESSAGE.content, False),
        (b"Subject: a\r\nReceived: b\r\n\r\nbody\r\n", False),
        (b"", False),
        (b"Received: never ends", False),
    ],
)
def test_the_content_is_the_message_without_the_trace_on_its_top(
    content: bytes, is_same: bool
) -> None:
    assert (content_of(content) == content_of(MESSAGE.content)) is is_same


@given(st.lists(st.binary(min_size=11, max_size=11), max_size=5))
def test_claims_come_out_of_a_record_as_they_went_in(keys: list[bytes]) -> None:
    claims = [Claim(key, ids.to_bytes(OWN), b"1234", 1 + at) for at, key in enumerate(keys)]
    assert decode_record(encode_record(claims)) == encode_claims(claims)
    assert len(encode_claims(claims)) == CLAIM_BYTES * len(claims)


@pytest.mark.parametrize(
    "value", [None, b"", b"\x02", b"\x01x", b"\x01" + b"x" * (CLAIM_BYTES + 1)]
)
def test_what_is_no_record_of_keys_is_told(value: bytes | None) -> None:
    with pytest.raises(CodecError, match="not a record of submission keys"):
        decode_record(value)


@pytest.mark.parametrize("mail_id", ["", "x", "!" * 26, "Z" * 26, "0" * 25 + "U"])
def test_a_mail_id_that_is_none_makes_no_claim(mail_id: str) -> None:
    with pytest.raises(CodecError, match="envelope"):
        claim_of(Message(replace(ENVELOPE, mail_id=mail_id), b""), 1)


@given(st.binary(min_size=16, max_size=16))
def test_a_mail_id_has_sixteen_bytes_and_back(octets: bytes) -> None:
    assert ids.to_bytes(ids.from_bytes(octets)) == octets


def test_each_place_differs_and_none_is_zero() -> None:
    places = {place_of(p, o, i) for p in range(4) for o in range(50) for i in range(64)}
    assert 0 not in places
    # 24 bits: a few of the 12,800 positions may collide.
    assert len(places) > 12_780


# -- how validate uses the answers


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
    assert batch.received == {("shop", "standard", ""): 1}
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
    assert batch.received == {("shop", "standard", ""): 1}
    ((kind, mail_id, event),) = batch.events
    assert (kind, mail_id, event.rules) == (EventType.CANCELLED, OWN, ())
    assert "451" in event.reason


def test_without_an_answer_or_with_a_free_key_it_goes_on() -> None:
    for answers in ({}, {0: NEW}):
        batch = assemble([judged(PASSED)], answers, 5)
        assert [one.envelope for one in batch.passed["default"]] == [ENVELOPE]
        assert batch.received == {("shop", "standard", ""): 1}


# -- the records of the front door


def pending(count: int) -> list[PendingWrite[Message]]:
    return [PendingWrite(MESSAGE, lambda outcome: None, 0.0) for _ in range(count)]


def test_the_front_door_writes_what_is_new_and_what_may_be_lost_and_tells_the_rest() -> None:
    batch = pending(4)
    first = ids.to_bytes(FIRST)
    answers: list[Answer] = [NEW, Reserved(first), Duplicate(first), Conflict(first)]
    plan = plan_writes(list(zip(batch, answers, strict=True)), lambda client: False)
    told, pack = plan.sends
    assert pack.output.topic == names.RECEIVED
    written = decode_pack(pack.output.value, pack.output.headers)
    assert [message.envelope.mail_id for message in written] == [OWN, FIRST]
    assert (pack.result.pending, pack.outcomes) == (batch[:2], [Written(OWN), Written(FIRST)])
    assert told.output.topic == names.EVENTS
    event = decode_event(told.output.headers, told.output.value)
    assert isinstance(event, Event)
    assert (event.type, event.subject, event.data.first_mail_id) == (
        EventType.DUPLICATE,
        OWN,
        FIRST,
    )
    assert (told.result.pending, told.outcomes) == ([batch[2]], [outbox.Duplicate(FIRST)])
    (conflict,) = plan.conflicts
    assert (conflict.pending, conflict.outcomes.result()) == ([batch[3]], [KeyConflict(FIRST)])
    assert plan.copied == []


def test_the_front_door_tells_a_repeat_apart_where_the_client_has_a_topic_of_its_own() -> None:
    first = ids.to_bytes(FIRST)
    answers: list[Answer] = [NEW, Duplicate(first)]
    batch = list(zip(pending(2), answers, strict=True))
    plan = plan_writes(batch, {MESSAGE.envelope.client}.__contains__)
    (copied,), (pack,) = plan.copied, plan.sends
    topic, client = copied.send.output.topic, copied.client
    assert (topic, client) == (names.EVENTS, MESSAGE.envelope.client)
    assert pack.output.topic == names.RECEIVED


def test_a_mail_id_of_the_front_door_is_one_and_bears_its_time() -> None:
    make = MailIds().make
    made = [make(1_700_000_000_000 + number // 100) for number in range(1_000)]
    assert len(set(made)) == 1_000
    for number, mail_id in enumerate(made):
        octets = ids.to_bytes(mail_id)
        assert ids.from_bytes(octets) == mail_id
        assert int.from_bytes(octets[:6], "big") == 1_700_000_000_000 + number // 100
    letters = Counter("".join(mail_id[ids.TIME_CHARS :] for mail_id in made))
    assert len(letters) == 32
    assert max(letters.values()) < 2 * min(letters.values())
