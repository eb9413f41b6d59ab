"""The records that ask for a trace."""

from typing import Any

import pytest
from msgspec.structs import replace

from shared.topics.codec import CodecError
from shared.topics.control import Order, Scope, Verb, decode_order, encode_order
from shared.topics.traces import (
    MAX_TRACE_MS,
    Trace,
    decode_trace,
    encode_trace,
    is_trace,
    key_of,
)

NOW = 1_795_467_600_000
TRACE = Trace("0123456789abcdef", "example.net", "", "ann", "they asked", NOW, NOW + 60_000)


def test_a_trace_survives_its_bytes() -> None:
    assert decode_trace(*encode_trace(TRACE)) == TRACE
    assert is_trace(key_of(TRACE))


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"domain": ""}, "a domain or a mail id"),
        ({"mail_id": "01JDWJ5Z3M0000000000000001"}, "and not both"),
        ({"domain": "", "mail_id": "nothing"}, "trace: "),
        ({"expires_at_ms": NOW}, "is no period"),
        ({"at_ms": -1}, "is no period"),
        ({"expires_at_ms": NOW + MAX_TRACE_MS + 1}, "longer than 10 minutes"),
        ({"trace_id": "../etc"}, "the key"),
        ({"trace_id": ""}, "the key"),
    ],
)
def test_a_trace_that_is_wrong_is_refused_with_the_reason(
    fields: dict[str, Any], said: str
) -> None:
    with pytest.raises(CodecError, match=said):
        decode_trace(*encode_trace(replace(TRACE, **fields)))


@pytest.mark.parametrize("value", [b"", b"x", b"[]", b"{}", b"[" * 100_000])
def test_a_value_that_is_no_trace_is_refused(value: bytes) -> None:
    with pytest.raises(CodecError, match="trace: "):
        decode_trace(key_of(TRACE), value)


def test_a_trace_is_no_order_and_an_order_no_trace() -> None:
    key, value = encode_order(Order(Verb.SUSPEND, Scope(domain="example.net"), at_ms=NOW))
    assert not is_trace(key)
    with pytest.raises(CodecError):
        decode_trace(key, value)
    with pytest.raises(CodecError):
        decode_order(*encode_trace(TRACE))
