"""Which traces concern a message, and how much of a trace one process shows."""

from typing import Any

from services.deliver.core.tracing.traces import (
    DIALOGS_PER_S,
    MAX_QUEUED,
    MAX_WRITTEN,
    NO_DIALOG,
    NO_TRACES,
    Channel,
    Traces,
)
from shared.topics.traces import CLOCK_SKEW_MS, MAX_TRACES, Trace, TraceLine

NOW = 1_795_467_600_000
MAIL_ID = "01JDWJ5Z3M0000000000000001"


def trace(trace_id: str, at_ms: int = NOW, **fields: Any) -> Trace:
    return Trace(trace_id, at_ms=at_ms, expires_at_ms=at_ms + 60_000, **fields)


DOMAIN = trace("domain00", domain="example.net")
MAIL = trace("mail0000", mail_id=MAIL_ID)


def ids_of(traces: Traces, mail_id: str, recipient: str, now_ms: int = NOW) -> list[str]:
    return [each.trace_id for each in traces.find(mail_id, recipient, now_ms)]


def test_a_trace_concerns_mail_to_its_domain_or_its_message() -> None:
    traces = Traces([DOMAIN, MAIL], NOW)
    assert traces.is_any
    assert ids_of(traces, "other", "x@Example.NET") == ["domain00"]
    assert ids_of(traces, MAIL_ID, "x@example.org") == ["mail0000"]
    assert ids_of(traces, MAIL_ID, "x@example.net") == ["domain00", "mail0000"]
    assert ids_of(traces, "other", "x@sub.example.net") == []


def test_a_trace_ends_at_its_expiry_and_begins_in_spite_of_a_clock_that_is_behind() -> None:
    traces = Traces([DOMAIN], NOW)
    assert ids_of(traces, "", "x@example.net", NOW + 59_999) == ["domain00"]
    assert ids_of(traces, "", "x@example.net", NOW + 60_000) == []
    assert ids_of(traces, "", "x@example.net", NOW - CLOCK_SKEW_MS) == ["domain00"]
    assert ids_of(traces, "", "x@example.net", NOW - CLOCK_SKEW_MS - 1) == []


def test_nothing_is_traced_without_traces_or_with_those_that_are_over() -> None:
    assert not NO_TRACES.is_any
    assert not Traces([DOMAIN, MAIL], NOW + 60_000).is_any


def test_the_latest_of_too_many_traces_are_left_out() -> None:
    many = [trace(f"trace-{number}", NOW + number, domain="d.example") for number in range(20)]
    found = Traces(reversed(many), NOW).find("", "x@d.example", NOW + 100)
    assert found == many[:MAX_TRACES]


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
