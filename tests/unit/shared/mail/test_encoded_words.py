"""Encoded words, and which subjects have no visible text."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.mail.encoded_words import decode, is_blank


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (b"plain", "plain"),
        (b"=?utf-8?B?w7xiZXI=?=", "über"),
        (b"=?UTF-8?q?=C3=BCber_uns?=", "über uns"),
        (b"=?iso-8859-1*de?Q?=FCber?=", "über"),
        (b"a =?utf-8?Q?b?= c", "a b c"),
        (b"=?utf-8?Q?a?= \r\n =?utf-8?Q?b?=", "ab"),
        (b"=?utf-8?Q?a?=x=?utf-8?Q?b?=", "axb"),
        (b"=?iso-2022-jp?B?GyRCPVUbKEI=?=", "春"),
        (b"=?shift_jis?B?j3Q=?=", "春"),
        (b"=?unknown-8bit?Q?=FC?=", "ü"),
        (b"=?punycode?Q?a-b?=", "a-b"),
        (b"=?utf-8?B?w7w?=", "ü"),
        (b"=?utf-8?X?abc?=", "=?utf-8?X?abc?="),
        (b"=?utf-8?B?abc", "=?utf-8?B?abc"),
        ("roh: ü".encode(), "roh: ü"),
    ],
)
def test_encoded_words_are_decoded_as_mail_programs_do(value: bytes, text: str) -> None:
    assert decode(value) == text


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b" \t ",
        b"=?utf-8?B??=",
        b"=?utf-8?Q??=",
        b"=?utf-8?Q?_?=",
        b"=?utf-8?Q? ?=",
        b"=?utf-8?B?ICAg?=",
        b"=?utf-8?B?====?=",
        b"=?utf-8?B?A?=",
        b"=?utf-8?B??= =?utf-8?Q?_?=",
        b"=?utf-8?Q?=E2=80=8B?=",
        b"=?utf-16?B??=",
        b"=?iso-2022-jp?B?GyRCGyhC?=",
        b"=?iso-8859-1?Q?=A0=AD?=",
        b"=?unknown?B??=",
        "\u200b\u2060\u00ad\ufeff".encode(),
        "\u3000\u2003".encode(),
        "\u3164\u115f\u2800".encode(),
        "\ufe0f\U000e0041".encode(),
        "=?utf-8?Q?\u200b?=".encode(),
    ],
)
def test_subjects_that_show_nothing_are_blank(value: bytes) -> None:
    assert is_blank(value)
    assert is_blank(b" " * 600 + value)


@pytest.mark.parametrize(
    "value",
    [
        b"x",
        b".",
        b"=?utf-8?B?eA==?=",
        b"=?utf-8?Q?_?= x",
        b"=?utf-8?B?",
        b"=?utf-8?X??=",
        b"=?utf-8?Q?=FF?=",
        b"\xff",
        "ü".encode(),
        "\u0301".encode(),
        "\U0001f600".encode(),
        "=?utf-8?B??= 春".encode(),
        b"=?iso-2022-jp?B?GyRCPVUbKEI=?=",
    ],
)
def test_subjects_that_show_anything_are_not(value: bytes) -> None:
    assert not is_blank(value)


@settings(deadline=None)
@given(st.binary(max_size=200), st.sampled_from(["utf-8", "idna", "zip", "utf-7", "cp999", "a*b"]))
def test_nothing_that_is_decoded_raises(value: bytes, charset: str) -> None:
    for encoding in b"B", b"Q":
        decode(b"=?" + charset.encode() + b"?" + encoding + b"?" + value + b"?=")
    is_blank(value)
