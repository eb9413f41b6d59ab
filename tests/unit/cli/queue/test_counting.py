"""Counts of the mail that waits."""

import pytest
from msgspec.structs import replace

from cli.queue import counting
from cli.queue.counting import QueueCounts, Waiting, distinct, queues_of, value_of
from shared.stream.backlog import Unread
from shared.stream.ledger import Settled
from shared.topics.records import Attempts, Envelope, Facts, Origin

LANE, RETRY = "mail.outbound.default", "mail.deferred.1m"
MAIL = Envelope(
    "M1",
    "shop",
    "a@b",
    "Anna@Example.net",
    "<1@b>",
    1_000,
    Origin(),
    Facts(),
    mailing_id="spring",
    sub_client="de",
    lane="bulk",
    attempts=Attempts(2, last_reply="451 later"),
)


def waiting(topic: str = LANE, **fields: object) -> Waiting:
    return Waiting(topic, 0, 7, replace(MAIL, **fields))


@pytest.mark.parametrize(
    ("by", "value"),
    [
        ("client", "shop"),
        ("mailing", "shop/spring"),
        ("sub-client", "shop/de"),
        ("domain", "example.net"),
        ("lane", "bulk"),
        ("topic", LANE),
        ("reply", "451 later"),
    ],
)
def test_a_message_is_counted_by_each_of_its_values(by: str, value: str) -> None:
    assert by in counting.BY
    assert value_of(waiting(), by) == value


def test_mail_without_a_value_has_a_row_that_says_so() -> None:
    counts = QueueCounts([(LANE, 3)], "reply")
    for attempts in (Attempts(2), Attempts(1), Attempts(1, last_reply="451 later")):
        counts.add(waiting(attempts=attempts))
    assert counts.top(5) == [["(none)", "2"], ["451 later", "1"]]
    assert counts.top(1) == [["(none)", "2"]]


def test_a_topic_has_its_messages_attempts_age_and_first_due_time() -> None:
    counts = QueueCounts([(LANE, 5), (LANE, 3), (RETRY, 0)])
    counts.add_record(LANE)
    for found in (
        waiting(due_at_ms=9_000),
        waiting(due_at_ms=8_000, received_at_ms=500, attempts=Attempts()),
    ):
        counts.add(found)
    row = counts.rows[LANE]
    assert (row.records, row.records_read, row.messages, row.attempted) == (8, 1, 2, 1)
    assert (row.oldest_ms, row.next_due_ms) == (500, 8_000)
    counts.add(waiting())
    assert row.next_due_ms == 0
    assert counts.rows[RETRY].messages == 0
    assert (counts.total(), counts.by) == (3, {"shop": 3})


def test_the_values_that_are_counted_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counting, "MAX_VALUES", 2)
    counts = QueueCounts([(LANE, 9)])
    for client in ("a", "b", "c", "a", "d"):
        counts.add(waiting(client=client))
    assert counts.by == {"a": 2, "b": 1, counting.OTHER: 2}


def test_the_queues_are_the_topics_of_accepted_mail_by_who_reads_them() -> None:
    topics = {
        LANE,
        RETRY,
        "mail.handover",
        "mail.received",
        "mail.held",
        "mail.events",
        "mail.intake.shop",
        "x",
    }
    assert queues_of(topics) == {
        "sluice.validate": ["mail.received"],
        "sluice.held": ["mail.held"],
        "sluice.deliver": [RETRY, "mail.handover", LANE],
    }


@pytest.mark.parametrize(
    ("offset", "index", "is_settled"),
    [(10, 0, False), (11, 0, True), (11, 63, True), (12, 0, True), (12, 1, False), (12, 2, True)],
)
def test_what_a_commit_names_as_settled_does_not_wait(
    offset: int, index: int, is_settled: bool
) -> None:
    unread = Unread(10, 20, Settled(frozenset({11}), {12: (3, 0b101)}))
    assert unread.is_settled(offset, index) is is_settled
    assert unread.records == 10


def test_a_message_that_moves_while_the_topics_are_read_is_listed_once() -> None:
    later = "mail.deferred.5m"
    moved = [waiting(RETRY, mail_id="A"), waiting(mail_id="B"), waiting(later, mail_id="A")]
    listed = [(each.envelope.mail_id, each.topic) for each in distinct(moved, 10)]
    assert listed == [("A", later), ("B", LANE)]
    assert len(distinct([waiting(mail_id=str(n)) for n in range(5)], 3)) == 3
