"""Keys and fields of the records of mail.suppressions."""

import hashlib

import pytest

from shared.topics.codec import CodecError
from shared.topics.suppressions import (
    FIELD_BYTES,
    REASONS,
    CounterReset,
    RecipientForm,
    SuppressionReason,
    SuppressionRecord,
    bit_of,
    decode_suppression,
    encode_suppression,
    field_of,
    fields_of,
    key_of,
    strongest,
)
from tests.support.suppressed import entry

ANNA = "anna@example.com"


def test_an_entry_replaces_only_one_of_its_client_reason_and_recipient() -> None:
    records: list[SuppressionRecord] = [
        entry(ANNA),
        entry("b@example.com"),
        entry(ANNA, client="other"),
        entry(ANNA, SuppressionReason.COMPLAINT),
        CounterReset("shop", ANNA),
    ]
    assert len(set(map(key_of, records))) == len(records)
    assert key_of(entry(ANNA, active=False)) == key_of(entry(ANNA))


def test_an_address_and_its_sha256_have_the_same_field() -> None:
    digest = hashlib.sha256(ANNA.encode()).hexdigest()
    assert field_of("shop", ANNA) == field_of("shop", digest, RecipientForm.SHA256)


def test_the_fields_that_are_looked_up_are_those_of_address_and_md5() -> None:
    digest = hashlib.md5(ANNA.encode()).hexdigest()
    wanted = field_of("shop", ANNA) + field_of("shop", digest, RecipientForm.MD5)
    assert fields_of("shop", ANNA) == wanted
    assert len(wanted) == 2 * FIELD_BYTES


def test_clients_have_different_fields() -> None:
    assert field_of("shop", ANNA) != field_of("shop2", ANNA)


@pytest.mark.parametrize("place", range(len(REASONS)))
def test_the_strongest_of_several_reasons_is_reported(place: int) -> None:
    weaker = sum(bit_of(reason) for reason in REASONS[place:])
    assert strongest(weaker) is REASONS[place]


def test_without_a_bit_there_is_no_reason() -> None:
    assert strongest(0) is None


@pytest.mark.parametrize(
    "record", [entry(ANNA, active=False), CounterReset("shop", ANNA, 5, "ops")]
)
def test_a_record_is_read_as_it_was_written(record: object) -> None:
    assert decode_suppression(encode_suppression(record)[1]) == record  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "value", [None, b"", b"{}", b'{"type":"later"}', b'{"type":"suppression","reason":"new"}']
)
def test_a_record_that_is_not_known_is_an_error(value: bytes | None) -> None:
    with pytest.raises(CodecError, match="suppression: "):
        decode_suppression(value)
