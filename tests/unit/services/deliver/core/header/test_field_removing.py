"""The mailing code is removed from outgoing mail, and nothing else is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.deliver.core.header.changing import FieldRemover

BODY = b"\r\nX-bm-mailing: in the body\r\n"
CASES = [
    ("first", b"X-bm-mailing: a\r\nTo: b\r\n", b"To: b\r\n"),
    ("last", b"To: b\r\nX-bm-mailing: a\r\n", b"To: b\r\n"),
    ("the only one", b"X-bm-mailing: a\r\n", b""),
    ("twice", b"X-bm-mailing: a\r\nTo: b\r\nX-BM-Mailing: c\r\n", b"To: b\r\n"),
    ("folded", b"X-bm-mailing:\r\n a\r\n\tb\r\nTo: b\r\n", b"To: b\r\n"),
    ("space before the colon", b"x-bm-mailing \t: a\r\nTo: b\r\n", b"To: b\r\n"),
    ("a longer name", b"X-bm-mailing-id: a\r\n", b"X-bm-mailing-id: a\r\n"),
    ("a name that ends so", b"A-X-bm-mailing: a\r\n", b"A-X-bm-mailing: a\r\n"),
    ("in a value", b"To: b\r\n X-bm-mailing: a\r\n", b"To: b\r\n X-bm-mailing: a\r\n"),
    ("none", b"To: b\r\n", b"To: b\r\n"),
]


@pytest.mark.parametrize("end", [b"\r\n", b"\n"])
@pytest.mark.parametrize(
    ("header", "expected"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_the_field_is_removed_and_everything_else_stays(
    header: bytes, expected: bytes, end: bytes
) -> None:
    content, left = ((text + BODY).replace(b"\r\n", end) for text in (header, expected))
    assert FieldRemover("X-bm-mailing").removed_from(content) == left


@pytest.mark.parametrize("content", [b"", b"\n\nX-bm-mailing: a", b"To: b\n\nX-bm-mailing: a"])
def test_content_without_the_field_is_the_same_object(content: bytes) -> None:
    assert FieldRemover("X-bm-mailing").removed_from(content) is content


def test_without_a_name_nothing_is_removed() -> None:
    content = b"X-bm-mailing: a\r\n: b\r\n\r\n"
    assert FieldRemover("").removed_from(content) is content


def test_a_field_without_an_end_of_header_is_removed_too() -> None:
    assert FieldRemover("X-bm-mailing").removed_from(b"To: b\nX-bm-mailing: a") == b"To: b\n"


pieces = st.sampled_from([b"X-bm-mailing", b":", b"\n", b"\r\n", b" ", b"a: b", b"\r", b"x"])


@given(st.lists(pieces, max_size=14).map(b"".join))
def test_a_second_removal_finds_nothing(content: bytes) -> None:
    remover = FieldRemover("X-bm-mailing")
    once = remover.removed_from(content)
    assert remover.removed_from(once) is once
