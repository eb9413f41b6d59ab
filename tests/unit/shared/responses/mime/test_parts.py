"""The leaves of a MIME tree, whole and broken."""

from __future__ import annotations

import pytest

from shared.responses.mime.parts import MAX_BYTES, MAX_PARTS, Message, read_message
from shared.responses.mime.text import text_of


def leaves(message: Message) -> list[tuple[str, str]]:
    return [(part.content_type, text_of(part).strip()) for part in message.parts]


def multipart(boundary: str, *parts: str, declared: str = "") -> bytes:
    head = f'Content-Type: multipart/mixed; boundary="{declared or boundary}"\n\npreamble\n'
    inner = "".join(f"--{boundary}\n{part}\n" for part in parts)
    return f"{head}{inner}--{boundary}--\nepilogue\n".encode()


TEXT = "Content-Type: text/plain\n\none"


def test_a_message_without_a_type_is_text() -> None:
    assert leaves(read_message(b"Subject: a\n\nhello\n")) == [("text/plain", "hello")]


def test_parts_come_without_preamble_and_epilogue() -> None:
    found = leaves(read_message(multipart("b", TEXT, "Content-Type: text/html\n\n<b>two</b>")))
    assert found == [("text/plain", "one"), ("text/html", "two")]


def test_a_part_without_a_header_is_text() -> None:
    assert leaves(read_message(multipart("b", "\nplain"))) == [("text/plain", "plain")]


@pytest.mark.parametrize(
    "declared",
    [
        'boundary*0="zAb"; boundary*1="=cd"',
        "boundary*=us-ascii''zAb%3Dcd",
        'boundary (a comment; boundary=x) = "zAb=cd"',
        'boundary="zAb=cd',
    ],
)
def test_a_boundary_is_read_in_each_form_also_without_the_last_quote(declared: str) -> None:
    # The first line looks like a delimiter, so a guess would take it.
    body = f"--guess=1\n--zAb=cd\n{TEXT}\n--zAb=cd--\n"
    found = read_message(f"Content-Type: multipart/mixed; {declared}\n\n{body}".encode())
    assert leaves(found) == [("text/plain", "one")]


def test_a_nested_tree_is_flat() -> None:
    inner = multipart("inner", TEXT).decode()
    assert leaves(read_message(multipart("outer", inner, TEXT))) == [
        ("text/plain", "one"),
        ("text/plain", "one"),
    ]


def test_a_returned_message_is_a_leaf() -> None:
    inner = multipart("inner", TEXT).decode()
    message = read_message(multipart("outer", f"Content-Type: message/rfc822\n\n{inner}"))
    assert [part.content_type for part in message.parts] == ["message/rfc822"]
    assert message.parts[0].is_original


@pytest.mark.parametrize("declared", ["", "other"])
def test_a_boundary_that_does_not_occur_is_guessed(declared: str) -> None:
    assert leaves(read_message(multipart("real-one", TEXT, declared=declared or "none"))) == [
        ("text/plain", "one")
    ]


def test_a_tree_without_an_end_is_read_to_its_end() -> None:
    content = multipart("b", TEXT).replace(b"\n--b--\nepilogue\n", b"")
    assert leaves(read_message(content)) == [("text/plain", "one")]


@pytest.mark.parametrize("before", [b"\n\n", b"From MAILER-DAEMON Mon Mar  2\n", b">From a\n"])
def test_lines_before_the_header_are_skipped(before: bytes) -> None:
    message = read_message(before + b"Subject: a\n\nhello")
    assert message.fields.get("subject") == ["a"]


@pytest.mark.parametrize("line_end", [b"\r\n", b"\r", b"\n"])
def test_line_ends_do_not_matter(line_end: bytes) -> None:
    content = multipart("b", TEXT).replace(b"\n", line_end)
    assert leaves(read_message(content)) == [("text/plain", "one")]


def test_a_folded_field_is_one_line() -> None:
    fields = read_message(b"Subject: a\n\tb\n  c\n\n").fields
    assert fields.get("subject") == ["a b c"]


def test_only_so_many_parts_are_read() -> None:
    assert len(read_message(multipart("b", *[TEXT] * 500)).parts) == MAX_PARTS


def test_only_so_many_levels_are_read() -> None:
    content = b"Content-Type: text/plain\n\ndeep"
    for level in range(50):
        content = multipart(f"b{level}", content.decode())
    found = read_message(content).parts
    assert len(found) == 1
    assert found[0].content_type == "multipart/mixed"


def test_only_so_many_bytes_are_read() -> None:
    message = read_message(b"\n" + b"x" * 5_000_000)
    assert sum(len(part.body) for part in message.parts) <= MAX_BYTES
