"""The records of reviews on mail.control."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from shared.topics.codec import CodecError
from shared.topics.control import Order, Scope, Verb, encode_order
from shared.topics.reviews import Review, ReviewVerdict, decode_review, encode_review, is_review

REVIEW = Review("big/ger", 5, 9, ReviewVerdict.COUNTED, "5.1.1", author="ops", note="real", at_ms=7)


def test_a_review_is_read_as_it_was_written_and_has_a_key_of_its_own() -> None:
    key, value = encode_review(REVIEW)
    assert decode_review(key, value) == REVIEW
    assert is_review(key)
    changes: list[dict[str, Any]] = [{"provider": "big"}, {"status": ""}, {"from_ms": 4}]
    others = {encode_review(replace(REVIEW, **each))[0] for each in changes}
    assert len({key, *others}) == 4
    assert encode_review(replace(REVIEW, active=False, author="x"))[0] == key


def test_an_order_is_no_review() -> None:
    assert not is_review(encode_order(Order(Verb.SUSPEND, Scope(client="review")))[0])
    assert not is_review(None)


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"{}",
        b"[" * 100_000,
        b'{"provider":"","from_ms":1,"until_ms":2}',
        b'{"provider":"a","from_ms":2,"until_ms":2}',
        b'{"provider":"a","from_ms":-1,"until_ms":2}',
        b'{"provider":"a","from_ms":1,"until_ms":99999999999999999}',
        b'{"provider":"a","from_ms":1,"until_ms":2,"verdict":"maybe"}',
        msgspec.json.encode(REVIEW),
    ],
)
def test_what_is_no_review_is_an_error(value: bytes) -> None:
    with pytest.raises(CodecError):
        decode_review(b"review/a//1-2", value)
