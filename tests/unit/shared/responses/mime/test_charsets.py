"""The charset of a text without a right declaration is guessed by how its octets stand together."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.responses.mime.charsets import guess_charset
from shared.responses.mime.fields import parse_fields
from shared.responses.mime.parts import Part
from shared.responses.mime.text import text_of

TEXTS = {
    "gb18030": "系统退信\n收件人：anna@shop.example\n退信原因：用户不存在",
    "euc-jp": "次の宛先へのメールを配信できませんでした。\nanna@shop.example",
    "cp932": "次の宛先へのメールを配信できませんでした。\nanna@shop.example",
    "koi8-r": "Ваше письмо не доставлено: anna@shop.example. Пользователь не найден.",
    "cp1251": "Ваше письмо не доставлено: anna@shop.example. Пользователь не найден.",
    "latin-1": "Die Empfängeradresse anna@shop.example ist ungültig; bitte prüfen. Größe über",
}


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
