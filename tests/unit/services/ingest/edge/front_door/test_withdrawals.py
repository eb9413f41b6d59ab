"""Which messages are withdrawn if Kafka did not acknowledge them in time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

import pytest

from services.ingest.edge.front_door.message_writer import MessageWriter
from services.ingest.edge.front_door.reservations import ReservedKeys, Withdrawals
from services.ingest.edge.writing.outbox import UNKNOWN, Outcome, PendingWrite, Written
from services.ingest.edge.writing.record_sender import RecordSender, Send
from shared.runtime.failpoints import Failpoints
from shared.stream.transactions import TransactionalProducer
from shared.topics import ids
from shared.topics.records import Message
from shared.topics.submission_keys import NEW, Answer, Duplicate, Reserved
from tests.support.submissions import FIRST, MESSAGE, OWN

OTHER = ids.encode(7)


class Keys:
    """Replaces Redis: returns prepared answers and records the requests."""

    def __init__(self, answers: Sequence[Answer]) -> None:
        self.answers = answers
        self.asked: list[str] = []
        self.before: Callable[[], None] = lambda: None

    def reserve(self, messages: Sequence[Message]) -> Sequence[Answer]:
        self.before()
        return self.answers

    def withdraw(self, messages: Sequence[Message]) -> Sequence[Answer]:
        self.asked = [message.envelope.mail_id for message in messages]
        return self.answers


def pending(mail_id: str = "") -> PendingWrite[Message]:
    one = PendingWrite(MESSAGE, lambda outcome: None, 0.0)
    one.try_begin(mail_id)
    return one


@pytest.mark.parametrize(
    ("mail_ids", "answers", "asked", "outcomes"),
    [
        ([""], [], [], [UNKNOWN]),
        ([OWN], [NEW], [OWN], [UNKNOWN]),
        ([FIRST], [NEW], [FIRST], [UNKNOWN]),
        ([OWN], [Duplicate(ids.to_bytes(OWN))], [OWN], [Written(OWN)]),
        (
            ["", OWN, OTHER],
            [NEW, Duplicate(ids.to_bytes(FIRST))],
            [OWN, OTHER],
            [UNKNOWN, UNKNOWN, Written(FIRST)],
        ),
    ],
    ids=["not begun", "withdrawn", "withdrawn under the first's id", "read meanwhile", "several"],
)
def test_only_what_may_be_written_is_withdrawn_and_what_was_read_is_told_as_written(
    mail_ids: list[str], answers: list[Answer], asked: list[str], outcomes: list[Outcome]
) -> None:
    keys = Keys(answers)
    found = Withdrawals(cast(ReservedKeys, keys)).withdraw([pending(one) for one in mail_ids])
    assert keys.asked == asked
    assert found == outcomes


def test_what_is_given_up_while_its_key_is_reserved_is_not_written() -> None:
    given_up, first_of_two = pending(), pending()
    keys = Keys([NEW, Reserved(ids.to_bytes(FIRST))])
    keys.before = given_up.give_up

    class Sender:
        def __init__(self) -> None:
            self.sent: list[Send[Message]] = []

        def send(self, sends: Sequence[Send[Message]]) -> None:
            self.sent += sends

    sender = Sender()
    writer = MessageWriter(
        sender=cast(RecordSender, sender),
        keys=cast(ReservedKeys, keys),
        failpoints=Failpoints.none(),
        events=cast(TransactionalProducer, None),
        has_client_events=lambda name: False,
    )
    (result,) = writer.write([given_up, first_of_two])
    assert len(sender.sent) == 1
    assert result.pending == [first_of_two]
    # Both have the mail id that Redis stores now, so that both can be withdrawn.
    assert (given_up.mail_id, first_of_two.mail_id) == (OWN, FIRST)
