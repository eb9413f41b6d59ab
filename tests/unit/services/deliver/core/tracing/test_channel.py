"""How much of a trace one process shows, and that it says what it does not show."""

from services.deliver.core.tracing.channel import (
    DIALOGS_PER_S,
    MAX_QUEUED,
    MAX_WRITTEN,
    NO_DIALOG,
    Channel,
)
from shared.topics.traces import TraceLine


def add(channel: Channel, count: int) -> None:
    for number in range(count):
        channel.add(NO_DIALOG, "<", str(number), 1)


def take_all(channel: Channel) -> list[TraceLine]:
    found: list[TraceLine] = []
    while lines := channel.take(2):
        assert len(lines) <= MAX_WRITTEN + 1
        found += lines
    return found


def test_lines_are_taken_in_their_order_with_consecutive_numbers() -> None:
    channel = Channel("deliver-0")
    add(channel, 3)
    assert [(line.number, line.text) for line in channel.take(2)] == [(1, "0"), (2, "1"), (3, "2")]
    assert channel.take(2) == []
    assert channel.is_empty


def test_lines_beyond_the_queue_are_dropped_and_leave_a_gap_that_is_written() -> None:
    channel = Channel("deliver-0")
    add(channel, MAX_QUEUED + 37)
    found = take_all(channel)
    assert [line.number for line in found[:-1]] == list(range(1, MAX_QUEUED + 1))
    assert (found[-1].kind, found[-1].number) == ("", MAX_QUEUED + 37)
    assert channel.is_empty


def test_lines_that_could_not_be_written_leave_a_gap_too() -> None:
    channel = Channel("deliver-0")
    add(channel, 5)
    channel.take(2)
    channel.lost()
    (mark,) = channel.take(3)
    assert (mark.kind, mark.number, mark.at_ms) == ("", 5, 3)
    assert channel.is_empty


def test_at_most_so_many_dialogs_begin_in_a_second_and_the_others_are_counted() -> None:
    channel = Channel("deliver-0")
    begun = [channel.try_begin(100.0) for _ in range(DIALOGS_PER_S + 12)]
    assert begun == [True] * DIALOGS_PER_S + [False] * 12
    (mark,) = channel.take(2)
    assert (mark.kind, mark.skipped) == ("", 12)
    assert channel.is_empty
    assert [channel.try_begin(100.5) for _ in range(DIALOGS_PER_S)].count(True) == 10
    # A process that was paused for a minute does not catch up on it.
    assert [channel.try_begin(160.0) for _ in range(100)].count(True) == DIALOGS_PER_S
