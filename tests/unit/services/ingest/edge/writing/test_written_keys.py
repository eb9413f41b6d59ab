"""What the front door writes for each answer about a submission's key."""

from __future__ import annotations

from collections import Counter

from services.ingest.edge.front_door.message_writer import plan_writes
from services.ingest.edge.writing import outbox
from services.ingest.edge.writing.mail_ids import MailIds
from services.ingest.edge.writing.outbox import KeyConflict, PendingWrite, Written
from shared.topics import ids, names
from shared.topics.codec import decode_event, decode_pack
from shared.topics.records import Event, EventType, Message
from shared.topics.submission_keys import NEW, Answer, Conflict, Duplicate, Reserved
from tests.support.submissions import FIRST, MESSAGE, OWN


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
