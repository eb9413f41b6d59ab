"""The records of mail.returned."""

from __future__ import annotations

import pytest

from shared.topics.codec import CodecError
from shared.topics.records import ReturnAddressKind, Returned
from shared.topics.returned import decode_returned, encode_returned

RETURNED = Returned(
    "01JDEXAMPLE0000000000000ZZ",
    "shop",
    "rp=x@news.shop.example",
    "",
    1_795_467_600_000,
    ReturnAddressKind.RETURN_PATH,
    "192.0.2.7",
    "M-1",
    "north",
    "01JDEXAMPLE0000000000000ZY",
    b"\x00\xff",
)


def test_what_was_encoded_is_decoded_and_its_key_is_the_client() -> None:
    key, headers = encode_returned(RETURNED)
    assert key == b"shop"
    assert decode_returned(b"Subject: x\r\n\r\n", headers) == RETURNED


@pytest.mark.parametrize(
    ("value", "headers"),
    [
        (None, encode_returned(RETURNED)[1]),
        (b"", []),
        (b"", [("m", b"")]),
        (b"", [("m", b"\x93\x01\x02\x03")]),
        (b"", [("m", b"\x91" * 5_000)]),
    ],
)
def test_other_records_are_refused(value: bytes | None, headers: list[tuple[str, bytes]]) -> None:
    with pytest.raises(CodecError, match="not returned mail"):
        decode_returned(value, headers)
