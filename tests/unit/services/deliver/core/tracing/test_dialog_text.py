"""What a trace shows of a dialog: no secret, no content, no control character, and not too much."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.deliver.core.tracing.dialog_text import (
    HIDDEN,
    MAX_LINE_BYTES,
    MAX_LINE_CHARS,
    MAX_LINES,
    DialogText,
    shown,
)

PASSWORD = b"secret-word"
PLAIN = base64.b64encode(b"\0user\0" + PASSWORD)


def test_a_pipelined_group_is_shown_as_its_commands() -> None:
    group = b"RSET\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\nDATA\r\n"
    expected = ["RSET", "MAIL FROM:<a@b.example>", "RCPT TO:<c@d.example>", "DATA"]
    assert DialogText().sent(group) == [(">", line) for line in expected]


def test_content_is_shown_as_its_size() -> None:
    assert DialogText().sent_content(10_240) == [(">", "<10,240 bytes>")]


@pytest.mark.parametrize("size", [1, 3, 1_000])
def test_a_reply_is_shown_by_lines_however_it_arrives(size: int) -> None:
    data = b"250-mx.example\r\n250 SIZE 1000\r\n451 4.7.1 later\r\n"
    text, lines = DialogText(), []
    for start in range(0, len(data), size):
        lines += text.received(data[start : start + size])
    assert lines == [("<", "250-mx.example"), ("<", "250 SIZE 1000"), ("<", "451 4.7.1 later")]
    assert text.ended() == []


def test_a_line_without_an_end_is_shown_at_the_end() -> None:
    text = DialogText()
    assert text.received(b"250 ok") == []
    assert text.ended() == [("<", "250 ok (no line end)")]


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        (
            [(">", b"AUTH PLAIN " + PLAIN), ("<", b"235 2.7.0 hello user " + PASSWORD)],
            [(">", f"AUTH PLAIN {HIDDEN}"), ("<", f"235 {HIDDEN}")],
        ),
        (
            [(">", b"auth plain"), ("<", b"334 "), (">", PLAIN), ("<", b"535 5.7.8 " + PLAIN)],
            [
                (">", f"AUTH PLAIN {HIDDEN}"),
                ("<", f"334 {HIDDEN}"),
                (">", HIDDEN),
                ("<", f"535 {HIDDEN}"),
            ],
        ),
        (
            [
                (">", b"AUTH LOGIN"),
                ("<", b"334 VXNlcm5hbWU6"),
                (">", b"dXNlcg=="),
                ("<", b"334 UGFzc3dvcmQ6"),
                (">", base64.b64encode(PASSWORD)),
                ("<", b"235-2.7.0 welcome"),
                ("<", b"235 2.7.0 " + PASSWORD),
                (">", b"MAIL FROM:<a@b.example>"),
                ("<", b"250 2.1.0 Ok"),
            ],
            [
                (">", f"AUTH LOGIN {HIDDEN}"),
                ("<", f"334 {HIDDEN}"),
                (">", HIDDEN),
                ("<", f"334 {HIDDEN}"),
                (">", HIDDEN),
                ("<", f"235 {HIDDEN}"),
                ("<", f"235 {HIDDEN}"),
                (">", "MAIL FROM:<a@b.example>"),
                ("<", "250 2.1.0 Ok"),
            ],
        ),
        (
            [(">", b"AUTH " + PLAIN * 3), ("<", PASSWORD), ("<", b"501 " + PASSWORD)],
            [(">", f"AUTH {HIDDEN}"), ("<", HIDDEN), ("<", f"501 {HIDDEN}")],
        ),
        ([(">", b"AUTHOR x")], [(">", "AUTHOR x")]),
    ],
)
def test_credentials_are_hidden_in_both_directions_until_the_final_reply(
    steps: list[tuple[str, bytes]], expected: list[tuple[str, str]]
) -> None:
    text = DialogText()
    found = []
    for kind, line in steps:
        found += (text.sent if kind == ">" else text.received)(line + b"\r\n")
    assert found == expected


def test_what_we_say_while_credentials_are_on_their_way_may_quote_them() -> None:
    text = DialogText()
    text.sent(b"AUTH PLAIN\r\n")
    assert text.said(f"Malformed SMTP response line: {PASSWORD!r}") == [("*", HIDDEN)]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"250 \x1b[2Jhello", "250 \\x1b[2Jhello"),
        (b"550 na\xc3\xafve", "550 na\u00efve"),
        (b"550 na\xefve", "550 na\\xefve"),
        (b"550 \xe2\x80\xaeevil", "550 \\xe2\\x80\\xaeevil"),
        (b"550 a\rb\x00c\tD\x7f", "550 a\\x0db\\x00c\\x09D\\x7f"),
    ],
)
def test_odd_bytes_are_escaped(line: bytes, expected: str) -> None:
    assert shown(line) == expected


@given(st.binary(max_size=3_000))
def test_whatever_a_server_sends_is_printable_and_short(data: bytes) -> None:
    text = DialogText()
    for _, line in [*text.received(data), *text.ended(), *text.said(data.decode("latin-1"))]:
        assert line.isprintable()
        assert len(line) <= 4 * MAX_LINE_CHARS + 40


def test_a_line_that_does_not_end_is_cut_once() -> None:
    text = DialogText()
    found = []
    for _ in range(100):
        found += text.received(b"x" * 1_000)
    (line,) = found
    assert line == ("<", "x" * MAX_LINE_CHARS + f"... ({3_000 - MAX_LINE_CHARS:,} bytes more)")
    assert text.received(b"rest\r\n250 ok\r\n") == [("<", "250 ok")]
    assert MAX_LINE_BYTES < 3_000


def test_a_server_that_answers_without_end_is_not_shown_without_end() -> None:
    text = DialogText()
    found = []
    for _ in range(MAX_LINES * 3):
        found += text.received(b"250-more\r\n")
    assert len(found) == MAX_LINES + 1
    assert found[-1][0] == "*"


def test_credentials_after_the_last_line_that_is_shown_leave_the_rest_hidden_too() -> None:
    text = DialogText()
    text.received(b"250-more\r\n" * (MAX_LINES + 1))
    assert text.sent(b"AUTH PLAIN " + PLAIN + b"\r\n") == []
    assert text.received(b"235 ok\r\n") == []
