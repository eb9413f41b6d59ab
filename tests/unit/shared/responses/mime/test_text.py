"""The text of a part: transfer encodings, charsets, HTML.

The charset of a text with a wrong declaration, or without one, is guessed.
"""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.responses.mime.parts import Part, parse_fields
from shared.responses.mime.text import MAX_CHARS, guess_charset, html_to_text, text_of

TEXTS = {
    "gb18030": "系统退信\n收件人：anna@shop.example\n退信原因：用户不存在",
    "euc-jp": "次の宛先へのメールを配信できませんでした。\nanna@shop.example",
    "cp932": "次の宛先へのメールを配信できませんでした。\nanna@shop.example",
    "koi8-r": "Ваше письмо не доставлено: anna@shop.example. Пользователь не найден.",
    "cp1251": "Ваше письмо не доставлено: anna@shop.example. Пользователь не найден.",
    "latin-1": "Die Empfängeradresse anna@shop.example ist ungültig; bitte prüfen. Größe über",
}


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


@pytest.mark.parametrize("charset", TEXTS)
@pytest.mark.parametrize("declared", ["us-ascii", "utf-8", "unknown-8bit", ""])
def test_a_text_is_read_whatever_its_declaration_says(charset: str, declared: str) -> None:
    header = f"Content-Type: text/plain; charset={declared}\n" if declared else ""
    part = Part("text/plain", parse_fields(header.encode()), TEXTS[charset].encode(charset))
    assert text_of(part) == TEXTS[charset]


@pytest.mark.parametrize(
    ("declared", "charset"),
    [("x-sjis", "cp932"), ("x-gbk", "gbk"), ("x-euc-jp", "euc-jp"), ("x-ms-jp", "iso-2022-jp")],
)
def test_a_charset_by_its_private_name_is_known_or_guessed(declared: str, charset: str) -> None:
    text = TEXTS["gb18030" if charset == "gbk" else "euc-jp"]
    header = f"Content-Type: text/plain; charset={declared}\n".encode()
    assert text_of(Part("text/plain", parse_fields(header), text.encode(charset))) == text


@pytest.mark.parametrize("text", ["", "anna", "café", "ä" * 7])
def test_few_octets_prove_nothing(text: str) -> None:
    assert guess_charset(text.encode("latin-1")) == "latin-1"


@given(st.binary(max_size=300))
def test_a_guess_can_decode_anything(octets: bytes) -> None:
    assert isinstance(octets.decode(guess_charset(octets), "replace"), str)


# Each with short runs of octets, some beside spaces.
PIECES = {
    "gb18030": "收件人不存在 收件人不存在\n" + "收件人不存在ab" * 5,
    "cp932": "宛先へのメールを配信できません a",
    "koi8-r": "Ваше письмо не доставлено: anna. ",
    "latin-1": "Die Empfängeradresse ist ungültig; größer, ä ö ü. ",
}


@pytest.mark.parametrize("charset", PIECES)
@pytest.mark.parametrize("times", [10, 100, 1000])
def test_a_long_text_is_guessed_as_a_short_one_of_its_kind(charset: str, times: int) -> None:
    assert guess_charset(PIECES[charset].encode(charset) * times) == charset
