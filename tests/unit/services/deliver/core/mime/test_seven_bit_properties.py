"""8-bit text for 7-bit servers: what holds for any text."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from services.deliver.core.mime.seven_bit import to_seven_bit
from shared.smtp.extensions import Unsendable
from tests.support.seven_bit import MIXED, PLAIN, UMLAUTS, converted, message, parts

lines = st.lists(
    st.sampled_from(["ä", "€", " ", "\t", "=", ".", "\n", "\r", "a" * 30, "--b 1", "--b 1--"]),
    max_size=30,
).map("".join)


@given(lines, st.sampled_from([PLAIN, "X: y", "Content-Type: application/x-y"]))
def test_any_body_is_the_same_after_decoding(body: str, field: str) -> None:
    converted(message(field, body))


@given(lines)
def test_any_text_in_parts_is_the_same_after_decoding(body: str) -> None:
    content = message(MIXED, parts(f"{PLAIN}\n\n{body}", f"{PLAIN}\n\n{UMLAUTS}"))
    if isinstance(to_seven_bit(content), bytes):
        converted(content)


@given(st.binary(max_size=60), st.lists(lines, max_size=4))
def test_it_is_total(noise: bytes, bodies: list[str]) -> None:
    for content in (noise, noise + message(MIXED, parts(*bodies)), message(MIXED, parts(*bodies))):
        found = to_seven_bit(content)
        assert isinstance(found, Unsendable) or found.isascii()
