"""What `sluice check` says beside the rules: notes, lines and fixes."""

from __future__ import annotations

import pytest

from cli.check.lines import header_lines, line_to_fix, lines_meant, printable
from tests.support.check_command import results, run

UNDATED = b"From: a@shop.example\r\nTo: b@r.example\r\nMessage-ID: <1@x>\r\nSubject: s\r\n"
DATE = b"Date: Thu, 24 Dec 2026 08:00:00 +0100\r\n"
HEADER = UNDATED.replace(b"To:", DATE + b"To:")


@pytest.mark.parametrize(
    ("body", "notes"),
    [
        (b"Hi\r\n", []),
        (b"x" * 998 + b"\r\n", []),
        (b"x" * 998, []),
        (b"Hi\r\n" + b"x" * 999 + b"\r\n", ["line 8 has 999 octets, 998 are allowed"]),
        (b"x" * 5_000, ["line 7 has 5000 octets"]),
        (b"Hi\nthere\r\n", ["not every line ends with CRLF"]),
        (b"Hi\rthere\r\n", ["not every line ends with CRLF"]),
        (b"Hi\r" + b"x" * 1_000, ["not every line ends with CRLF", "line 7 has"]),
    ],
)
def test_what_only_the_front_door_refuses_is_a_note(
    body: bytes, notes: list[str], registry: str
) -> None:
    asked = ("-", "--clients", registry, "--client", "shop")
    (found,) = results(run(*asked, "--json", given=HEADER + b"\r\n" + body))
    told = found.get("notes", [])
    assert len(told) == len(notes)
    for note, part in zip(told, notes, strict=True):
        assert part in note
        assert "550 5.6.0" in note
    shown = run(*asked, given=HEADER + b"\r\n" + body).stdout
    assert shown.count("note ") == len(notes)


@pytest.mark.parametrize(
    ("header", "note"),
    [
        (UNDATED, "no Date header (RFC 5322, 3.6 requires it)"),
        (UNDATED + b"X-Date: x\r\nResent-" + DATE, "no Date header"),
        (HEADER + DATE, "2 Date headers"),
        (UNDATED + b"Date: soon\r\n", "the Date 'soon' is not a date"),
        (UNDATED + b"Date:\r\n", "the Date '' is not a date"),
        (UNDATED + b"Date: \x1b[31m\r\n", "the Date '\\x1b[31m' is not a date"),
        (HEADER, ""),
        (UNDATED + b"date: 24 Dec 26 08:00 GMT\r\n", ""),
        (UNDATED + b"DATE: Thu, 24 Dec 2026\r\n 08:00:00 -0000 (UTC)\r\n", ""),
    ],
)
def test_a_date_that_is_not_right_is_a_note_and_breaks_no_rule(
    header: bytes, note: str, registry: str
) -> None:
    asked = ("-", "--clients", registry, "--client", "shop", "--json")
    (found,) = results(run(*asked, given=header + b"\r\nHi\r\n"))
    (dated,) = results(run(*asked, given=HEADER + b"\r\nHi\r\n"))
    assert found["rules"] == dated["rules"]
    told = found.get("notes", [])
    assert len(told) == (1 if note else 0)
    assert all(note in each for each in told)


def test_lines_that_all_end_with_lf_need_no_note(registry: str) -> None:
    given = (HEADER + b"\r\nHi\r\n").replace(b"\r\n", b"\n")
    (found,) = results(run("-", "--clients", registry, "--client", "shop", "--json", given=given))
    assert "notes" not in found


def test_a_nul_in_the_body_is_mended_in_the_body(registry: str) -> None:
    given = HEADER + b"\r\nHi\0\r\n"
    shown = run("-", "--clients", registry, "--client", "shop", given=given).stdout
    assert "fix: Remove the NUL bytes" in shown
    assert "Write the header as lines" not in shown


HEAD = b"To: a\r\n\tb\r\nTO : c\r\nCc: d\r\nX\xc3\xa9: f\r\nBcc:\r\n\r\n"


@pytest.mark.parametrize(
    ("rule", "numbers", "text"),
    [
        ("R1", [], ""),
        ("R2", [], ""),
        ("R3", [1, 3], "TO : c"),
        ("R5", [4, 6], "Cc: d"),
        ("R8", [5], "X\u00e9: f"),
    ],
)
def test_the_lines_meant_are_found_with_their_numbers(
    rule: str, numbers: list[int], text: str
) -> None:
    meant = lines_meant(rule, header_lines(HEAD), b"x")
    assert [line.number for line in meant] == numbers
    assert line_to_fix(rule, meant) == text


def test_nothing_shown_can_steer_a_terminal() -> None:
    assert printable("a\x1b[2J\tb\u202e") == "a\\x1b[2J b\\u202e"
