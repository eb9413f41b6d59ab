"""Header fields with raw UTF-8 in ASCII, judged by the standard library, and what is refused."""

from __future__ import annotations

import re
from email import message_from_bytes, policy
from email.header import decode_header, make_header

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.deliver.core.mime.utf8_header import ascii_header


def encoded(header: str) -> str:
    found = ascii_header(header.encode() + b"\r\n")
    assert found is not None
    assert found.endswith(b"\r\n")
    return found[:-2].decode("ascii")


def text_of(field: str) -> str:
    """The decoded value of an unstructured field."""
    value = message_from_bytes(field.encode() + b"\r\n\r\n", policy=policy.compat32)["Subject"]
    return str(make_header(decode_header(value)))


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        ("Subject: plain", "Subject: plain"),
        ("Subject: Grüße", "Subject: =?utf-8?b?R3LDvMOfZQ==?="),
        ("Subject: 50 % für dich", "Subject: 50 % =?utf-8?b?ZsO8cg==?= dich"),
        ("Subject: für Käthe an", "Subject: =?utf-8?b?ZsO8ciBLw6R0aGU=?= an"),
        ("X-Note:ü", "X-Note:=?utf-8?b?w7w=?="),
        ("Subject: a\r\n ü", "Subject: a =?utf-8?b?w7w=?="),
        ("From: Jörg Müller <j@b.example>", "From: =?utf-8?b?SsO2cmcgTcO8bGxlcg==?= <j@b.example>"),
        (
            'From: "Müller, \\"J\\"" <j@b.example>',
            "From: =?utf-8?b?TcO8bGxlciwgIkoi?= <j@b.example>",
        ),
        (
            'Reply-To: a@b.example, "x" <c@d.example>, Ü <e@f.example>',
            'Reply-To: a@b.example, "x" <c@d.example>, =?utf-8?b?w5w=?= <e@f.example>',
        ),
        ("To: x@bücher.example", "To: x@xn--bcher-kva.example"),
        ("To: Ü <x@bücher.example>", "To: =?utf-8?b?w5w=?= <x@xn--bcher-kva.example>"),
        ("To: Ü: a@b.example;", "To: =?utf-8?b?w5w=?=: a@b.example;"),
        (
            'Content-Disposition: attachment; filename="Ü 1.pdf"; size=3',
            "Content-Disposition: attachment; filename*=utf-8''%C3%9C%201.pdf; size=3",
        ),
        (
            'Content-Type: application/pdf;\r\n name="Ü;=.pdf"',
            "Content-Type: application/pdf; name*=utf-8''%C3%9C%3B%3D.pdf",
        ),
    ],
)
def test_a_field_is_written_in_ascii(field: str, expected: str) -> None:
    assert encoded(field) == expected


def test_other_fields_stay_byte_by_byte() -> None:
    header = "X-A:  a\r\n\tb \r\nSubject: ü\r\nX-B: c"
    assert encoded(header) == "X-A:  a\r\n\tb \r\nSubject: =?utf-8?b?w7w=?=\r\nX-B: c"


@pytest.mark.parametrize(
    "header",
    [
        b"Subject: Gr\xfc\xdfe",  # not UTF-8
        "From: jörg@b.example".encode(),
        "From: J <jörg@b.example>".encode(),
        "From: J (Jörg) <j@b.example>".encode(),
        "From: Jörg =?utf-8?b?w7w=?= <j@b.example>".encode(),
        "From: Jörg".encode(),
        "Message-ID: <ü@b.example>".encode(),
        "List-Unsubscribe: <https://b.example/ü>".encode(),
        "Received: by ü; Mon, 1 Jan 2029 00:00:00 +0000".encode(),
        "Content-Type: text/ü".encode(),
        'Content-Type: multipart/mixed; boundary="ü"'.encode(),
        f'Content-Disposition: attachment; filename="{"ü" * 200}"'.encode(),
        "Fünf: x".encode(),
        b"\xc3\xbc",
        b" \xc3\xbc",
    ],
)
def test_what_cannot_be_encoded_without_guessing_is_refused(header: bytes) -> None:
    assert ascii_header(header + b"\r\n") is None


def test_a_space_next_to_an_encoded_word_that_was_there_is_still_shown() -> None:
    for text in ("ü =?utf-8?b?w7w=?= x", "=?utf-8?b?w7w=?= ü x", "ü =?utf-8?b?w7w=?= ü"):
        expected = text.replace("=?utf-8?b?w7w=?=", "ü")
        assert text_of("Subject: a " + encoded("Subject: " + text)[9:]) == "a " + expected


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1)))
def test_any_text_is_decoded_to_the_same_text_in_lines_that_are_short(words: list[str]) -> None:
    # "=?" would be an encoded word in the original, too; email drops a space beside a bracket or a
    # backslash.
    words = [re.sub(r"=\?|[()\\]", "", word) or "b" for word in words]
    text = " ".join(["a", *words])
    field = encoded(f"Subject: {text}")
    assert text_of(field) == text
    if text.isascii():
        assert field == f"Subject: {text}", "it is kept as it was, however long"
        return
    longest = max((len(word) for word in words if word.isascii()), default=0)
    assert max(map(len, field.split("\r\n"))) <= max(76, longest + 1)


@pytest.mark.parametrize(
    "field",
    [
        f"Subject: {'ü' * 60}",
        f"Subject:{'ü' * 60}",
        f"Subject: Re: {'ü' * 60}",
        f"From: {'é' * 60} <a@b.example>",
        f"To: c@d.example, {'é' * 60} <a@b.example>",
        f"X-A-Name-Of-Middle-Length: {'ü' * 60}",
    ],
)
def test_the_line_of_the_name_is_short_too(field: str) -> None:
    assert max(map(len, encoded(field).split("\r\n"))) <= 76


@given(st.binary(max_size=200))
def test_whatever_it_is_the_result_is_ascii_or_nothing(header: bytes) -> None:
    found = ascii_header(b"To: " + header.replace(b"\r", b"") + b"\r\n")
    assert found is None or found.isascii()
