"""The text of a part: transfer encodings, charsets, HTML."""

from __future__ import annotations

import base64

import pytest

from shared.responses.mime.fields import parse_fields
from shared.responses.mime.parts import Part
from shared.responses.mime.text import MAX_CHARS, html_to_text, text_of


def part(body: bytes, encoding: str = "", charset: str = "", kind: str = "text/plain") -> Part:
    header = f"Content-Type: {kind}; charset={charset}\n" if charset else f"Content-Type: {kind}\n"
    if encoding:
        header += f"Content-Transfer-Encoding: {encoding}\n"
    return Part(kind, parse_fields(header.encode()), body)


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (part("größer".encode()), "größer"),
        (part("größer".encode("latin-1")), "größer"),
        (part("größer".encode("latin-1"), charset="ISO-8859-1"), "größer"),
        (part(b"gr=C3=B6=C3=9Fe=\nr", "quoted-printable", "utf-8"), "größer"),
        (part(base64.encodebytes("größer".encode()), "base64", "utf-8"), "größer"),
        (part("送信".encode("iso-2022-jp"), charset="iso-2022-jp"), "送信"),
        (part("送信".encode("iso-2022-jp")), "送信"),
        (part("送信".encode("shift_jis"), charset="Shift_JIS"), "送信"),
        # Charsets of which mail knows nothing, and encodings that are none.
        (part(b"a", charset="punycode"), "a"),
        (part(b"a", charset="no-such"), "a"),
        (part(b"!!!", "base64"), ""),
        (part(b"=ZZ=4", "quoted-printable"), "=ZZ=4"),
        (part(b"<p>a</p><p>b</p>", kind="text/html"), "a\nb"),
        (part(b"<html><body>a&amp;b</body></html>"), "a&b"),
    ],
)
def test_a_part_is_read_as_a_person_reads_it(given: Part, text: str) -> None:
    assert text_of(given) == text


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("<style>b{}</style>a", "a"),
        ("<head><title>t</title></head>a", "a"),
        ("a<script>x", "ax"),
        ("a<br>b<br/>c", "a\nb\nc"),
        ("<td>anna@shop.example</td><td>550</td>", "anna@shop.example\n550"),
        ("1 < 2 <3", "1 < 2 <3"),
        ("a\n  b", "a b"),
        ("<" * 5_000, "<" * 5_000),
    ],
)
def test_html_becomes_lines(source: str, text: str) -> None:
    assert html_to_text(source) == text


def test_a_long_text_is_cut() -> None:
    assert len(text_of(part(b"x" * 100_000))) == MAX_CHARS


def test_a_character_that_is_cut_does_not_change_the_charset() -> None:
    assert text_of(part("größe".encode()[:-1])) == "größ"
