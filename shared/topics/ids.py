"""Mail ids: 128 bits, time-ordered, as 26 characters of Crockford base32. Pure.

For a Kafka submission the id is derived from the record's coordinates, so that reading a
record twice produces the same id. An id has the layout of a ULID: 48 bits of Unix milliseconds (the
time at which the broker appended the record), then 80 bits of a hash over topic, partition and
offset. For a message received by SMTP, these 80 bits are random. If the broker keeps the producer's
time stamp (CreateTime), this time stamp is the time part, and the hash also covers the content
(docs/decisions/0045-time-stamps.md).

The module also owns the encoding of numbers in base 32. This encoding must be fast, because every
message has a mail id and a return path. The encoder spreads all groups of 5 bits at the same time,
so that each group is in an octet of its own. Each step cuts every part of the number in half and
shifts the upper half by the missing bits. Six steps spread 64 groups, and take a quarter of the
time of a loop over the characters.
"""

from __future__ import annotations

import hashlib
from typing import Final

_BITS: Final = 5
_MISSING_BITS: Final = 8 - _BITS
_ALPHABET: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
# Python's base-32 digits are 0-9 and A-V; any other octet becomes an invalid digit. Translating
# with a table of octets takes a third of the time that a table of characters takes.
_DIGITS: Final = b"0123456789ABCDEFGHIJKLMNOPQRSTUV"
_TO_BASE_32: Final = bytes(
    _DIGITS[_ALPHABET.index(chr(octet))] if chr(octet) in _ALPHABET else ord("!")
    for octet in range(256)
)

_MAX_TIME: Final = (1 << 48) - 1
ID_CHARS: Final = 26
TIME_CHARS: Final = 10
RANDOM_CHARS: Final = ID_CHARS - TIME_CHARS
# Each of the 32 characters stands for 8 of the 256 octets, so random octets give random characters.
_BY_OCTET: Final = (_ALPHABET * 8).encode()


class Base32:
    """Writes numbers as a fixed number of characters of an alphabet of 32."""

    def __init__(self, alphabet: str, chars: int) -> None:
        self._size = 1 << (chars - 1).bit_length()
        self._first = self._size - chars
        self._steps = _steps(self._size)
        self._by_group = alphabet.encode("ascii") * 8

    def encode(self, number: int) -> str:
        """Return the characters of this number, which must not be too large for them."""
        for low, high, shift in self._steps:
            number = (number & low) | ((number & high) << shift)
        octets = number.to_bytes(self._size, "big")
        return octets.translate(self._by_group)[self._first :].decode("ascii")


def _steps(size: int) -> tuple[tuple[int, int, int], ...]:
    """Return, for each step, the masks of both halves and the shift of the upper half."""
    steps = []
    half = size // 2
    while half:
        ones = (1 << _BITS * half) - 1
        low = sum(ones << 8 * at for at in range(0, size, 2 * half))
        steps.append((low, low << _BITS * half, _MISSING_BITS * half))
        half //= 2
    return tuple(steps)


_ID: Final = Base32(_ALPHABET, ID_CHARS)


def encode(value: int) -> str:
    """Encode a 128-bit number as 26 characters."""
    return _ID.encode(value)


def derive(topic: str, partition: int, offset: int, timestamp_ms: int, content: bytes = b"") -> str:
    """Derive the mail id of the record at these coordinates, with its Kafka timestamp.

    `content` distinguishes records with the same coordinates and time stamp. Such records exist,
    because the first record of a recreated topic has the coordinates of an earlier record.
    """
    hashed = hashlib.blake2b(b"%b\0%d\0%d" % (topic.encode(), partition, offset), digest_size=10)
    if content:
        hashed.update(b"\0")
        hashed.update(content)
    time_part = min(max(timestamp_ms, 0), _MAX_TIME)
    return encode((time_part << 80) | int.from_bytes(hashed.digest(), "big"))


def time_letters(now_ms: int) -> str:
    """Return the TIME_CHARS characters with which every mail id of this millisecond begins."""
    return encode((now_ms & 0xFFFF_FFFF_FFFF) << 80)[:TIME_CHARS]


def random_part(chance: bytes) -> str:
    """Map each random byte to a character; a mail id ends with RANDOM_CHARS such characters."""
    return chance.translate(_BY_OCTET).decode("ascii")


def to_bytes(mail_id: str) -> bytes:
    """Return the 16 bytes of a mail id; raises ValueError if the id is not valid."""
    if len(mail_id) != ID_CHARS:
        raise ValueError(f"not a mail id (26 letters and digits): {mail_id!r}")
    try:
        return int(mail_id.encode("ascii").translate(_TO_BASE_32), 32).to_bytes(16, "big")
    except (OverflowError, UnicodeEncodeError):
        raise ValueError(f"not a mail id (26 letters and digits): {mail_id!r}") from None


def from_bytes(octets: bytes) -> str:
    """Return the mail id of these 16 bytes."""
    return encode(int.from_bytes(octets, "big"))
