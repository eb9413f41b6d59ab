"""What `sluice trace` prints, and what it says of lines that are missing."""

from typing import Any

from cli.trace.output import Missing, Printer
from shared.topics.traces import TraceLine

AT = 1_795_467_600_123


def line(number: int, kind: str = ">", text: str = "NOOP", **fields: Any) -> TraceLine:
    return TraceLine("deliver-0", number, AT, kind, text, **fields)


def said(*lines: TraceLine) -> list[str]:
    missing = Missing()
    return [text for each in lines for text in missing.new(each)]


def test_consecutive_lines_are_complete() -> None:
    assert said(line(1), line(2), line(3)) == []


def test_a_gap_is_said_with_its_size() -> None:
    assert said(line(1), line(39)) == ["deliver-0: 37 lines were dropped"]
    assert said(line(1), line(3)) == ["deliver-0: 1 line was dropped"]


def test_lines_that_are_missing_at_the_end_are_said_by_a_number_without_a_line() -> None:
    assert said(line(1), line(38, kind="")) == ["deliver-0: 37 lines were dropped"]
    assert said(line(1), line(1, kind="")) == []
    # It is not counted as a line itself.
    assert said(line(1), line(5, kind=""), line(6)) == ["deliver-0: 4 lines were dropped"]


def test_what_was_trimmed_before_the_first_line_is_missing_too() -> None:
    assert said(line(11)) == ["deliver-0: 10 lines were dropped"]


def test_a_process_that_was_restarted_numbers_from_the_beginning() -> None:
    assert said(line(1), line(2, skipped=3), line(1), line(2)) == [
        "deliver-0: 3 dialogs were not shown, because too many began in one second"
    ]


def test_processes_are_counted_each_by_itself() -> None:
    missing = Missing()
    other = TraceLine("deliver-1", 1, AT, ">", "NOOP")
    assert [missing.new(each) for each in (line(1), other, line(2))] == [[], [], []]


def test_dialogs_that_were_skipped_are_said_once() -> None:
    assert said(line(1, skipped=2), line(2, skipped=2), line(3, skipped=3)) == [
        "deliver-0: 2 dialogs were not shown, because too many began in one second",
        "deliver-0: 1 dialog was not shown, because too many began in one second",
    ]


def test_a_dialog_is_introduced_once_and_again_when_its_connection_is_another() -> None:
    about: dict[str, Any] = {
        "dialog": 7,
        "mail_id": "M1",
        "source": "192.0.2.1",
        "server": "mx.example:25",
    }
    printer = Printer()
    found = [
        text
        for each in (
            line(1, text="EHLO us", **about),
            line(2, "<", "250 hello", **about),
            line(3, text="MAIL FROM:<>", tls="TLSv1.3", **about),
        )
        for text in printer.lines(each)
    ]
    at = "2026-11-23 21:00:00.123Z"
    assert [text.removeprefix(at).removeprefix("  deliver-0/7  ") for text in found] == [
        "= M1  from 192.0.2.1  to mx.example:25  no TLS",
        "> EHLO us",
        "< 250 hello",
        "= M1  from 192.0.2.1  to mx.example:25  TLSv1.3",
        "> MAIL FROM:<>",
    ]


def test_control_characters_of_whoever_writes_to_redis_are_not_printed() -> None:
    evil = TraceLine("\x1b[2J", 1, AT, "\x1b", "\x1b]0;x\x07\r\n", 1, "\x9b1m", server="\u202e")
    for text in Printer().lines(evil):
        assert text.isprintable()
