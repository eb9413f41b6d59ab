"""The PROXY header of a connection: read whole, in pieces, and invalid."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.ingest.core.smtp_server.proxy_header import (
    FIXED_BYTES,
    MAX_VARIABLE_BYTES,
    Fault,
    Local,
    More,
    Proxied,
    parse,
)
from tests.support.proxy_headers import SIGNATURE, TCP4, TCP6, VERSION_1, addresses, header

Found = More | Proxied | Local | Fault
V4 = addresses("198.51.100.7")
V6 = addresses("2001:db8::7", "2001:db8::25")
MAPPED = addresses("::ffff:198.51.100.7", "2001:db8::25")
TLV = b"\x05\x00\x04\xde\xad\xbe\xef"  # a connection's id
WHOLE: dict[str, tuple[bytes, Proxied | Local]] = {
    "tcp4": (header(TCP4, V4), Proxied("198.51.100.7")),
    "tcp6": (header(TCP6, V6), Proxied("2001:db8::7")),
    "tcp6 of an IPv4 address": (header(TCP6, MAPPED), Proxied("198.51.100.7")),
    "tlvs": (header(TCP4, V4 + TLV), Proxied("198.51.100.7")),
    "as long as may be": (
        header(TCP4, V4.ljust(MAX_VARIABLE_BYTES, b"\x04")),
        Proxied("198.51.100.7"),
    ),
    "local": (header(0x00, b"", command=0), Local()),
    "local with addresses": (header(TCP4, V4, command=0), Local()),
    "local of any family": (header(0x99, V4 + TLV, command=0), Local()),
}
BROKEN: dict[str, tuple[bytes, str]] = {
    "version 1": (VERSION_1, "send-proxy-v2"),
    "a command": (b"EHLO client.example\r\n", "no header of PROXY version 2"),
    "a handshake": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "no header"),
    "a broken signature": (SIGNATURE[:-1] + b"\r" + header(TCP4, V4)[12:], "no header"),
    "version 3": (header(TCP4, V4, version=3), "version 3"),
    "command 2": (header(TCP4, V4, command=2), "command 2"),
    "unknown family": (header(0x00, b""), "AF_UNSPEC"),
    "udp4": (header(0x12, V4), "UDP"),
    "udp6": (header(0x22, V6), "UDP"),
    "unix": (header(0x31, bytes(216)), "UNIX"),
    "unix datagrams": (header(0x32, bytes(216)), "UNIX"),
    "no family": (header(0x41, V4), "0x41"),
    "addresses cut short": (header(TCP4, V4[:11]), "11 bytes of addresses; 12 are needed"),
    "tcp6 with addresses of tcp4": (header(TCP6, V4), "36 are needed"),
    "too long": (header(TCP4, bytes(MAX_VARIABLE_BYTES + 1)), f"{MAX_VARIABLE_BYTES} are allowed"),
    "a local one that is too long": (
        header(0, bytes(MAX_VARIABLE_BYTES + 1), command=0),
        f"{MAX_VARIABLE_BYTES} are allowed",
    ),
}


def read_as_asked(data: bytes) -> tuple[Found, int]:
    """Read as the edge does, never more than requested; return the result and the bytes read."""
    taken = 0
    while isinstance(found := parse(data[:taken]), More) and taken < len(data):
        assert found.missing_bytes > 0
        taken = min(taken + found.missing_bytes, len(data))
    return found, taken


def read_in_steps(data: bytes, steps: list[int]) -> Found:
    """The first result when the bytes arrive in pieces of these lengths."""
    taken, lengths = 0, iter(steps)
    while isinstance(found := parse(data[:taken]), More) and taken < len(data):
        taken = min(taken + next(lengths, len(data)), len(data))
    return found


@pytest.mark.parametrize(("data", "expected"), WHOLE.values(), ids=WHOLE)
def test_a_header_is_read_whole_byte_by_byte_and_with_bytes_behind_it(
    data: bytes, expected: Found
) -> None:
    assert parse(data) == expected
    assert read_in_steps(data, [1] * len(data)) == expected
    assert parse(data + b"\x16\x03\x01") == expected
    for length in range(len(data)):
        found = parse(data[:length])
        assert isinstance(found, More)
        assert 0 < found.missing_bytes <= len(data) - length


@pytest.mark.parametrize(("data", "_expected"), WHOLE.values(), ids=WHOLE)
def test_nothing_behind_a_header_is_ever_asked_for(data: bytes, _expected: Found) -> None:
    found, taken = read_as_asked(data + b"EHLO client.example\r\n")
    assert found == parse(data)
    assert taken == len(data)


@pytest.mark.parametrize(("data", "reason"), BROKEN.values(), ids=BROKEN)
def test_what_is_no_header_is_refused_with_its_reason_however_it_is_cut(
    data: bytes, reason: str
) -> None:
    found = parse(data)
    assert isinstance(found, Fault)
    assert reason in found.reason
    assert read_in_steps(data, [1] * len(data)) == found


def test_no_more_is_asked_for_than_the_limit_allows() -> None:
    longest = header(TCP4, bytes(MAX_VARIABLE_BYTES))[:FIXED_BYTES]
    assert parse(longest) == More(MAX_VARIABLE_BYTES)
    assert parse(b"") == More(FIXED_BYTES)


_RAW = st.binary(max_size=80)
_HEADERS = st.builds(
    header,
    st.sampled_from([0x00, TCP4, TCP6, 0x12, 0x31, 0x55]),
    st.binary(max_size=60),
    st.integers(0, 3),
    st.integers(1, 3),
)
_BYTES = st.one_of(_RAW, _HEADERS, st.builds(bytes.__add__, _HEADERS, _RAW))


@given(_BYTES, st.lists(st.integers(1, 20), max_size=12))
def test_any_bytes_give_the_same_result_in_any_pieces_and_never_raise(
    data: bytes, steps: list[int]
) -> None:
    whole = parse(data)
    assert read_in_steps(data, steps) == whole
    asked, taken = read_as_asked(data)
    assert asked == whole
    assert taken <= FIXED_BYTES + MAX_VARIABLE_BYTES
