from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.topics import ids
from shared.topics.codec import (
    PACK_MAX_BYTES,
    PACK_MAX_MESSAGES,
    CodecError,
    decode_event,
    decode_pack,
    decode_returned,
    encode_event,
    encode_pack,
    encode_returned,
    encode_tally,
    packs,
)
from shared.topics.event_records import Tally, TallyRow
from shared.topics.records import (
    Attempts,
    Envelope,
    Event,
    EventType,
    Facts,
    MailClass,
    MailEvent,
    Message,
    Origin,
    ReturnAddressKind,
    Returned,
    Violation,
)

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


def message(content: bytes, number: int = 0) -> Message:
    envelope = Envelope(
        mail_id=ids.derive("mail.intake.shop", 1, number, 1_700_000_000_000),
        client="shop",
        sender="a@news.shop.example",
        recipient="b@example.com",
        message_id="<1@shop>",
        received_at_ms=1_700_000_000_000,
        origin=Origin("mail.intake.shop", 1, number),
        facts=Facts(size_bytes=len(content)),
        mail_class=MailClass.TRANSACTIONAL,
        attempts=Attempts(2, 1_700_000_000_001, "451 later", "4.7.1"),
    )
    return Message(envelope, content)


@given(st.lists(st.binary(max_size=200), min_size=1, max_size=70))
def test_a_pack_decodes_to_the_messages_it_was_made_of(contents: list[bytes]) -> None:
    messages = [message(content, number) for number, content in enumerate(contents)]
    value, headers = encode_pack(messages)
    assert decode_pack(value, headers) == messages


def test_packs_keep_the_order_and_both_limits() -> None:
    messages = [message(b"x" * size, size) for size in (1, 300_000, 300_000, 300_000, *range(200))]
    cut = list(packs(messages))
    assert [entry for pack in cut for entry in pack] == messages
    assert max(len(pack) for pack in cut) <= PACK_MAX_MESSAGES
    assert max(sum(len(m.content) for m in pack) for pack in cut) <= PACK_MAX_BYTES


@pytest.mark.parametrize(
    ("value", "headers"),
    [
        (b"x", []),
        (None, [("m", b"\x90")]),
        (b"x", [("m", b"\x90")]),
        (b"x", [("m", b"no msgpack")]),
        (b"too long", encode_pack([message(b"short")])[1]),
    ],
)
def test_a_record_that_is_no_pack_is_refused(
    value: bytes | None, headers: list[tuple[str, bytes]]
) -> None:
    with pytest.raises(CodecError, match="not a pack"):
        decode_pack(value, headers)


def test_an_event_decodes_to_what_was_encoded() -> None:
    data = MailEvent(
        client="shop",
        at_ms=1_700_000_000_123,
        attempt=2,
        rules=(Violation("R5", "no Cc", "5.6.0"),),
        origin=Origin("mail.intake.shop", 0, 7),
    )
    key, value, headers = encode_event(EventType.REFUSED, "0" * 26, data, "validate")
    names = dict(headers)
    assert key == b"0" * 26
    assert names["ce_type"] == b"sluice.mail.refused"
    assert names["ce_source"] == b"/sluice/validate"
    assert names["ce_time"] == b"2023-11-14T22:13:20.123Z"
    assert names["content-type"] == b"application/json"
    assert decode_event(headers, value) == Event(
        f"{'0' * 26}.refused.2", EventType.REFUSED, "0" * 26, data
    )


def test_a_tally_decodes_to_what_was_encoded() -> None:
    tally = Tally("validate", 5, (TallyRow("shop", "spring", "de", 3),))
    _, value, headers = encode_tally(tally, "validate.1")
    assert decode_event(headers, value) == tally


def test_an_event_of_an_unknown_type_is_passed_over() -> None:
    for kind in (b"sluice.mail.invented", b"com.example.other"):
        assert decode_event([("ce_type", kind)], b"{}") is None
    assert decode_event([], b"") is None


def test_an_event_whose_data_cannot_be_read_is_an_error() -> None:
    with pytest.raises(CodecError, match=r"sluice\.mail\.delivered"):
        decode_event([("ce_type", b"sluice.mail.delivered")], b"{")


def test_a_mail_id_is_the_same_for_the_same_record_and_orders_by_time() -> None:
    first = ids.derive("mail.intake.shop", 0, 1, 1_000)
    assert first == ids.derive("mail.intake.shop", 0, 1, 1_000)
    others = {
        ids.derive("mail.intake.shop", 1, 1, 1_000),
        ids.derive("mail.intake.shop", 0, 2, 1_000),
        ids.derive("mail.intake.bank", 0, 1, 1_000),
    }
    assert len({first, *others}) == 4
    assert len(first) == ids.ID_CHARS
    assert first < ids.derive("mail.intake.shop", 0, 0, 2_000)


def test_mail_ids_use_crockfords_letters_only() -> None:
    assert ids.encode(0) == "0" * 26
    assert ids.encode((1 << 128) - 1) == "7" + "Z" * 25
    assert ids.encode(31) == "0" * 25 + "Z"


def altered(entries: list[Any]) -> list[tuple[str, bytes]]:
    return [("m", msgspec.msgpack.encode(entries))]


def entry(length: int, **changes: Any) -> list[Any]:
    envelope = msgspec.structs.replace(message(b"").envelope, **changes)
    return [envelope, length]


NOT_UTF_8 = msgspec.msgpack.encode([entry(1, client="~~~~")]).replace(b"~~~~", b"\xff\xfe\xc3(")


@pytest.mark.parametrize(
    "headers",
    [
        altered([entry(-1), entry(2)]),
        altered([entry(2), entry(-1)]),
        altered([entry(0), entry(-5), entry(6)]),
        altered([entry(1 << 62), entry(1 - (1 << 62))]),
        altered([entry(1), entry(1)]),
        [("m", NOT_UTF_8)],
        [("m", b"\x91" * 100_000)],
        [("m", b"")],
        [],
    ],
)
def test_a_record_that_is_no_pack_is_a_codec_error(headers: list[tuple[str, bytes]]) -> None:
    with pytest.raises(CodecError):
        decode_pack(b"x", headers)


@pytest.mark.parametrize("kind", ["sluice.mail.delivered", "sluice.tally"])
@pytest.mark.parametrize(
    "value",
    [b'{"client":"\xff"}', b'{"service":"\xed\xa0\x80"}', b'{"x":' + b"[" * 100_000, b"", None],
)
def test_an_event_that_cannot_be_read_is_a_codec_error(kind: str, value: bytes | None) -> None:
    with pytest.raises(CodecError):
        decode_event([("ce_type", kind.encode())], value)


def test_an_event_without_a_value_in_a_header_is_read() -> None:
    _, value, headers = encode_event(EventType.DELIVERED, "m", MailEvent("shop"), "deliver")
    emptied: Any = [(name, None if name in {"ce_id", "ce_subject"} else x) for name, x in headers]
    found = decode_event(emptied, value)
    assert isinstance(found, Event)
    assert (found.id, found.subject, found.data.client) == ("", "", "shop")
    assert decode_event([("ce_type", None)], value) is None  # type: ignore[list-item]


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
