"""A number in base 32 has the characters of its groups of 5 bits."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from shared.topics.ids import Base32

ALPHABET = "0123456789abcdefghijklmnopqrstuv"


@given(st.integers(1, 100), st.data())
def test_each_character_is_one_group_of_five_bits(chars: int, data: st.DataObject) -> None:
    number = data.draw(st.integers(0, 32**chars - 1))
    text = Base32(ALPHABET, chars).encode(number)
    assert len(text) == chars
    assert int(text, 32) == number


def test_the_characters_are_those_of_the_alphabet() -> None:
    number = int.from_bytes(range(20))
    assert (
        Base32(ALPHABET.upper(), 32).encode(number) == Base32(ALPHABET, 32).encode(number).upper()
    )
