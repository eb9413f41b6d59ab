"""When two submissions are duplicates: their keys, their contents, and the records of keys."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from shared.topics import ids
from shared.topics.codec import CodecError
from shared.topics.records import Envelope, Message, Origin
from shared.topics.submission_keys import (
    CLAIM_BYTES,
    FORMER_BYTES,
    Claim,
    checksum_of,
    claim_of,
    content_of,
    decode_record,
    encode_claims,
    encode_formers,
    encode_record,
    key_of,
    place_of,
)
from tests.support.submissions import ENVELOPE, FIRST, MESSAGE, OWN


@pytest.mark.parametrize(
    ("changes", "is_same"),
    [
        ({}, True),
        ({"mail_id": FIRST, "origin": Origin(), "sender": "x@y.example"}, True),
        ({"client": "other"}, False),
        ({"message_id": "<2@news.shop.example>"}, False),
        ({"recipient": "berta@r.example"}, False),
        ({"submission_key": "order-1"}, False),
        # Neither value may run into the other.
        ({"client": "sho", "message_id": "p<1@news.shop.example>"}, False),
    ],
)
def test_the_key_is_client_message_id_and_recipient(
    changes: dict[str, object], is_same: bool
) -> None:
    assert (key_of(replace(ENVELOPE, **changes)) == key_of(ENVELOPE)) is is_same


def test_a_key_given_by_the_platform_counts_alone() -> None:
    given_key = replace(ENVELOPE, submission_key="order-1")
    other = replace(given_key, message_id="<2@news.shop.example>", recipient="berta@r.example")
    assert key_of(other) == key_of(given_key)
    assert key_of(replace(other, client="other")) != key_of(given_key)


def test_a_key_given_by_the_platform_is_one_of_its_source() -> None:
    shop = replace(ENVELOPE, submission_key="7", submission_source="/shop")
    old = replace(ENVELOPE, submission_key="7")
    found = {
        key_of(shop),
        key_of(replace(shop, submission_source="/crm")),
        key_of(replace(shop, submission_source="/shop7", submission_key="")),
        key_of(replace(shop, submission_source="/sho", submission_key="p7")),
        key_of(old),
    }
    assert len(found) == 5


# A message as submitted, and as an older ingest would have passed it on.
LF = MESSAGE.content.replace(b"\r\n", b"\n")
WITH_SOURCE = replace(ENVELOPE, submission_key="7", submission_source="/shop")


@pytest.mark.parametrize(
    ("message", "former"),
    [
        (MESSAGE, ()),
        (
            Message(replace(ENVELOPE, raw_checksum=checksum_of(LF)), MESSAGE.content),
            (ENVELOPE, LF),
        ),
        (Message(ENVELOPE, LF), (ENVELOPE, LF)),
        (
            Message(WITH_SOURCE, MESSAGE.content),
            (replace(ENVELOPE, submission_key="7"), MESSAGE.content),
        ),
        (
            Message(replace(WITH_SOURCE, raw_checksum=checksum_of(LF)), MESSAGE.content),
            (replace(ENVELOPE, submission_key="7"), LF),
        ),
    ],
)
def test_a_claim_names_key_and_content_as_older_versions_stored_them(
    message: Message, former: tuple[Envelope, bytes] | tuple[()]
) -> None:
    claim = claim_of(message, 1)
    assert (claim.key, claim.content) == (key_of(message.envelope), content_of(MESSAGE.content))
    assert claim.former == (key_of(former[0]) + checksum_of(former[1]) if former else b"")
    others = [claim_of(MESSAGE, 2), claim]
    assert len(encode_formers(others)) == (2 * FORMER_BYTES if former else 0)


TRACE = b"Received: from a\r\n\tby b;\r\n Mon\r\nRECEIVED: x\r\n"


@pytest.mark.parametrize(
    ("content", "is_same"),
    [
        (MESSAGE.content, True),
        (TRACE + MESSAGE.content, True),
        (b"Received: from a\nreceived:\n" + MESSAGE.content, True),
        (MESSAGE.content.replace(b"\r\n", b"\n"), True),
        (MESSAGE.content.replace(b"\r\n", b"\r"), True),
        (MESSAGE.content.removesuffix(b"\r\n"), True),
        (TRACE.replace(b"\r\n", b"\n") + MESSAGE.content.removesuffix(b"\r\n"), True),
        (MESSAGE.content + b"\r\n", False),
        (MESSAGE.content + b"x", False),
        (b"X-Received: a\r\n" + MESSAGE.content, False),
        (b"Subject: a\r\nReceived: b\r\n\r\nbody\r\n", False),
        (b"", False),
        (b"Received: never ends", False),
    ],
)
def test_the_content_is_the_message_without_the_trace_on_its_top(
    content: bytes, is_same: bool
) -> None:
    assert (content_of(content) == content_of(MESSAGE.content)) is is_same


@given(st.lists(st.binary(min_size=11, max_size=11), max_size=5))
def test_claims_come_out_of_a_record_as_they_went_in(keys: list[bytes]) -> None:
    claims = [Claim(key, ids.to_bytes(OWN), b"1234", 1 + at) for at, key in enumerate(keys)]
    assert decode_record(encode_record(claims)) == encode_claims(claims)
    assert len(encode_claims(claims)) == CLAIM_BYTES * len(claims)


@pytest.mark.parametrize(
    "value", [None, b"", b"\x02", b"\x01x", b"\x01" + b"x" * (CLAIM_BYTES + 1)]
)
def test_what_is_no_record_of_keys_is_told(value: bytes | None) -> None:
    with pytest.raises(CodecError, match="not a record of submission keys"):
        decode_record(value)


@pytest.mark.parametrize("mail_id", ["", "x", "!" * 26, "Z" * 26, "0" * 25 + "U"])
def test_a_mail_id_that_is_none_makes_no_claim(mail_id: str) -> None:
    with pytest.raises(CodecError, match="envelope"):
        claim_of(Message(replace(ENVELOPE, mail_id=mail_id), b""), 1)


@given(st.binary(min_size=16, max_size=16))
def test_a_mail_id_has_sixteen_bytes_and_back(octets: bytes) -> None:
    assert ids.to_bytes(ids.from_bytes(octets)) == octets


def test_each_place_differs_and_none_is_zero() -> None:
    places = {place_of(p, o, i) for p in range(4) for o in range(50) for i in range(64)}
    assert 0 not in places
    # 24 bits: a few of the 12,800 positions may collide.
    assert len(places) > 12_780
