"""Mail ids: 128 bits, time-ordered, as 26 letters of Crockford base32.

For a Kafka submission the id is derived from the record's coordinates, so that reading a
record twice makes the same mail. Layout as a ULID: 48 bits of Unix milliseconds (the time at
which the broker appended the record), then 80 bits of a hash over topic, partition and offset;
for a message that came by SMTP 80 random bits. Where the broker keeps the producer's time stamp
instead (CreateTime), that stamp is the time part and the content goes into the hash: see
docs/decisions/0045-time-stamps.md.
"""

from __future__ import annotations

import hashlib
from typing import Final

_ALPHABET: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
# Two letters at a time halve the work; an id is made for every message.
_PAIRS: Final = [a + b for a in _ALPHABET for b in _ALPHABET]

# Python's own digits of base 32 are 0-9 and A-V; what is no letter of Crockford's becomes none.
_TO_BASE_32: Final = dict.fromkeys(range(128), "!") | {
    ord(letter): digit
    for letter, digit in zip(_ALPHABET, "0123456789ABCDEFGHIJKLMNOPQRSTUV", strict=True)
}

_MAX_TIME: Final = (1 << 48) - 1
ID_CHARS: Final = 26
TIME_CHARS: Final = 10
RANDOM_CHARS: Final = ID_CHARS - TIME_CHARS
# Each of the 32 letters for 8 of the 256 octets, so that random octets make random letters.
_BY_OCTET: Final = (_ALPHABET * 8).encode()


def encode(value: int) -> str:
    """The 26 letters of a 128-bit number."""
    pairs = _PAIRS
    return "".join([pairs[(value >> shift) & 1023] for shift in range(120, -1, -10)])


def derive(topic: str, partition: int, offset: int, timestamp_ms: int, content: bytes = b"") -> str:
    """The mail id of the record at these coordinates, stamped with its Kafka timestamp.

    `content` distinguishes records whose time stamp does not: the first record of a topic that
    was deleted and created again has the coordinates of an earlier one.
    """
    hashed = hashlib.blake2b(b"%b\0%d\0%d" % (topic.encode(), partition, offset), digest_size=10)
    if content:
        hashed.update(b"\0")
        hashed.update(content)
    time_part = min(max(timestamp_ms, 0), _MAX_TIME)
    return encode((time_part << 80) | int.from_bytes(hashed.digest(), "big"))


def time_letters(now_ms: int) -> str:
    """The TIME_LETTERS that every mail id of this millisecond begins with."""
    return encode((now_ms & 0xFFFF_FFFF_FFFF) << 80)[:TIME_CHARS]


def random_part(chance: bytes) -> str:
    """A letter for each random byte: the rest of a mail id takes CHANCE_LETTERS of them."""
    return chance.translate(_BY_OCTET).decode("ascii")


def to_bytes(mail_id: str) -> bytes:
    """The 16 bytes of a mail id; raises ValueError for what is none."""
    if len(mail_id) != ID_CHARS:
        raise ValueError(f"not a mail id: {mail_id!r}")
    try:
        return int(mail_id.translate(_TO_BASE_32), 32).to_bytes(16, "big")
    except OverflowError:
        raise ValueError(f"not a mail id: {mail_id!r}") from None


def from_bytes(octets: bytes) -> str:
    """The mail id of these 16 bytes."""
    return encode(int.from_bytes(octets, "big"))
