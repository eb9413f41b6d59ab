"""Contents whose bodies were seen before: the answers are those of a look through all of it."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from shared.smtp.content import dot_stuffed, has_only_crlf, with_crlf
from shared.smtp.recent_bodies import KEPT, MAX_BODY_BYTES, MIN_CONTENT_BYTES, ByBody

_FILL = b"fill\r\n" * (MIN_CONTENT_BYTES // 6 + 1)
# Ends and beginnings that could be taken for each other's at the border of the parts.
_PIECES = st.lists(
    st.sampled_from([b"a: b", b"\r\n", b"\n", b"\r", b".", b"x", b"\r\n\r\n", b"\r\n.", b"\n\n"]),
    max_size=6,
).map(b"".join)
_BODIES = st.sampled_from(
    [b"", _FILL, b"." + _FILL, _FILL + b".x\r\n", _FILL + b"\n", _FILL + b"\r", b"\n" + _FILL]
)
_CONTENTS = st.lists(
    st.tuples(_PIECES, st.sampled_from([b"\r\n\r\n", b"\r\n", b"\n\n", b""]), _BODIES), max_size=8
)


@given(_CONTENTS)
def test_a_body_that_was_seen_changes_no_answer(parts: list[tuple[bytes, bytes, bytes]]) -> None:
    for content in map(b"".join, parts):
        is_bare = re.search(rb"\r(?!\n)|(?<!\r)\n", content) is not None
        assert has_only_crlf(content) is not is_bare
        normal = with_crlf(content)
        assert normal == re.sub(rb"\r\n|\r|\n", b"\r\n", content) + (
            b"" if content[-1:] in (b"\r", b"\n", b"") else b"\r\n"
        )
        assert dot_stuffed(normal) == re.sub(rb"(?m)^\.", b"..", normal)


def test_a_body_is_looked_through_once_and_each_header_always() -> None:
    looked: list[bytes] = []

    def holds(text: bytes) -> bool:
        looked.append(text)
        return b"!" not in text

    ask = ByBody(holds)
    body = b"\r\n" + _FILL
    assert ask(b"To: a\r\n" + body)
    assert ask(b"To: b\r\n" + body)
    assert not ask(b"To: c!\r\n" + body)
    assert looked == [b"To: a\r\n" + body, b"To: b\r\n", b"To: c!\r\n"]


def test_few_bodies_are_kept_and_no_large_one() -> None:
    looked: list[bytes] = []

    def holds(text: bytes) -> bool:
        looked.append(text)
        return True

    ask = ByBody(holds)
    contents = [b"To: a\r\n\r\n%d" % number + _FILL for number in range(KEPT + 1)]
    for content in contents:
        assert ask(content)
    looked.clear()
    for content in reversed(contents):
        assert ask(content)
    assert [len(text) > MIN_CONTENT_BYTES for text in looked] == [False] * KEPT + [True]
    looked.clear()
    large = b"To: a\r\n\r\n" + b"x" * MAX_BODY_BYTES
    assert ask(large)
    assert ask(large)
    assert looked == [large, large]


def test_a_body_for_which_it_does_not_hold_is_not_kept() -> None:
    ask = ByBody(lambda text: b"!" not in text)
    content = b"To: a\r\n\r\n!" + _FILL
    assert not ask(content)
    assert not ask(content)
