"""Comments and parameters of MIME header fields."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.mail.parameters import parameter_of, without_comments

CASES = [
    (b"multipart/mixed; boundary=B", b"B"),
    (b'multipart/mixed; x=1; Boundary="a b\\"c"', b'a b"c'),
    (b"multipart/mixed (x; boundary=no); boundary=B (yes)", b"B"),
    (b'multipart/mixed; x="(; boundary=no"; boundary=B', b"B"),
    (b"multipart/mixed (a (b) c); boundary=B", b"B"),
    (b'multipart/mixed; x=")("; boundary="B" (the (first) line)', b"B"),
    (b"multipart/mixed (no end; boundary=B", b""),
    (b'multipart/mixed; boundary*0="A"; boundary*1=B', b"AB"),
    (b"multipart/mixed; boundary*1*=%2B; boundary*0*=utf-8'en'%41", b"A+"),
    (b"multipart/mixed; boundary*1=B", b""),
    (b'multipart/mixed; boundary="no-end', b"no-end"),
    (b'multipart/mixed; boundary="', b""),
    (b"multipart/mixed; boundary*=us-ascii''a%20b", b"a b"),
    (b"multipart/mixed; boundary*0=A; boundary=B", b"B"),
    (b"multipart/mixed; boundaryx=B; boundary*x=C", b""),
    (b"multipart/mixed", b""),
    (b"", b""),
]


@pytest.mark.parametrize(("value", "expected"), CASES)
def test_a_parameter_is_read_by_its_name(value: bytes, expected: bytes) -> None:
    assert parameter_of(value, b"boundary") == expected


@given(st.binary(max_size=200))
def test_any_value_is_read_without_an_error(value: bytes) -> None:
    assert isinstance(parameter_of(b"a/b;" + value, b"boundary"), bytes)
    assert len(without_comments(value)) <= len(value)


@given(st.text(st.characters(codec="ascii", exclude_characters='()"\\'), max_size=50))
def test_a_value_without_comments_stays(text: str) -> None:
    assert without_comments(text.encode()) == text.encode()
