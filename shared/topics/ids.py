"""Creates mail ids. A mail id has 128 bits, is ordered by time, and is written as 26 characters of
Crockford base32. This module does no I/O.

For a submission by Kafka, the id is derived from the record's topic, partition and offset. So if a
record is read twice, its id is the same. An id has the layout of a ULID: 48 bits of Unix
milliseconds (the time at which the broker appended the record), and then 80 bits of a hash of the
topic, partition and offset. For a message that was received by SMTP, these 80 bits are random. If
the topic has the time stamps of producers (CreateTime), the first 48 bits are this time stamp, and
the content is included in the hash (docs/decisions/0045-time-stamps.md).

The module also owns the encoding of numbers in base 32. This encoding must be fast, because every
message has a mail id and a return path. The encoder spreads all groups of 5 bits at the same time,
so that each group is in a separate octet. Each step cuts every part of the number into two halves,
and shifts the upper half by the missing bits. Six steps spread 64 groups. The six steps take a
quarter of the time of a loop over the characters.
"""

from __future__ import annotations

import hashlib
from typing import Final

_BITS: Final = 5
_MISSING_BITS: Final = 8 - _BITS
_ALPHABET: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
# The base-32 digits of Python are 0-9 and A-V. Any other octet becomes an invalid digit. A
# translation with a table of octets takes a third of the time of a table of characters.
_DIGITS: Final = b"0123456789ABCDEFGHIJKLMNOPQRSTUV"
_TO_BASE_32: Final = bytes(
    _DIGITS[_ALPHABET.index(chr(octet))] if chr(octet) in _ALPHABET else ord("!")
    for octet in range(256)
)

_MAX_TIME: Final = (1 << 48) - 1
ID_CHARS: Final = 26
TIME_CHARS: Final = 10
RANDOM_CHARS: Final = ID_CHARS - TIME_CHARS
# Each of the 32 characters is assigned to 8 of the 256 octets, so random octets result in random
# characters.
_BY_OCTET: Final = (_ALPHABET * 8).encode()


class Base32:
    """Writes numbers as a fixed number of characters. The alphabet has 32 characters."""

    def __init__(self, alphabet: str, chars: int) -> None:
        self._size = 1 << (chars - 1).bit_length()
        self._first = self._size - chars
        self._steps = _steps(self._size)
        self._by_group = alphabet.encode("ascii") * 8

    def encode(self, number: int) -> str:
        """Return the characters of this number, which must fit the fixed number of characters."""
        for low, high, shift in self._steps:
            number = (number & low) | ((number & high) << shift)
        octets = number.to_bytes(self._size, "big")
        return octets.translate(self._by_group)[self._first :].decode("ascii")


def _steps(size: int) -> tuple[tuple[int, int, int], ...]:
    """Return the masks of both halves and the shift of the upper half, for each step."""
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
    """Derive the mail id of the record with this topic, partition, offset and Kafka timestamp.

    `content` distinguishes records with the same topic, partition, offset and time stamp. If a
    topic is deleted and created again, there may be two such records.
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
    """Map each random byte to a character. A mail id ends with RANDOM_CHARS of these characters."""
    return chance.translate(_BY_OCTET).decode("ascii")


def to_bytes(mail_id: str) -> bytes:
    """Return the 16 bytes of a mail id. Raises ValueError if the id is not valid."""
    if len(mail_id) != ID_CHARS:
        raise ValueError(f"not a mail id (26 letters and digits): {mail_id!r}")
    try:
        return int(mail_id.encode("ascii").translate(_TO_BASE_32), 32).to_bytes(16, "big")
    except (OverflowError, UnicodeEncodeError):
        raise ValueError(f"not a mail id (26 letters and digits): {mail_id!r}") from None


def from_bytes(octets: bytes) -> str:
    """Return the mail id with these 16 bytes."""
    return encode(int.from_bytes(octets, "big"))
