"""Decodes RFC 2047 encoded words, and checks whether a text is visible and unambiguous.

The decoder is lenient. To find hidden text, it decodes everything that any mail program might
decode, even where RFC 2047 forbids encoded words. The places where encoded words are allowed are
defined in address.py. No function raises an exception, and the time is linear in the length of the
value.
"""

from __future__ import annotations

import binascii
import re
import unicodedata
from collections.abc import Iterator
from functools import lru_cache
from typing import Final

# Longer values are not cached, so that the memory of the cache is bounded.
MAX_CACHED_BYTES: Final = 512
_CACHED_VALUES: Final = 2_048

_ENCODED_WORD: Final = re.compile(rb"=\?([^?\s]{1,60})\?([BbQq])\?([^?]*)\?=")
_BETWEEN_WORDS: Final = re.compile(rb"[ \t\r\n]*")
_VISIBLE_ASCII: Final = re.compile(rb"[!-~]")
_Q_OCTET: Final = re.compile(rb"=([0-9A-Fa-f]{2})")
_NOT_BASE64: Final = re.compile(rb"[^A-Za-z0-9+/]+")
# The other codecs of Python (punycode, idna, unicode_escape, ...) are not charsets of mail.
_CHARSET: Final = re.compile(
    r"utf-?(7|8|16|16le|16be|16-le|16-be|32)|(us-)?ascii|iso[-_]?8859[-_]\d{1,2}|"
    r"windows-?\d{3,4}|cp\d{3,4}|iso[-_]2022[-_](jp|kr)(-(1|2|3|ext|2004))?|"
    r"shift[-_]?jis(x0213|-2004)?|s-?jis|euc[-_]?(jp|kr)|gb2312|gbk|gb18030|hz(-gb-2312)?|"
    r"big5(-?hkscs)?|koi8-[rut]|tis-620|latin-?\d{1,2}|mac-?roman|ks_c_5601-1987"
)
# These characters are invisible, although Unicode classifies them as letters, marks or symbols.
_BLANKS: Final = frozenset(
    "\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u2065\u2800\u3164\uffa0"
)
_BLANK_RANGES: Final = ((0xFE00, 0xFE0F), (0xFFF0, 0xFFF8), (0xE0000, 0xE0FFF))
_SYNTAX: Final = re.compile(r'[\x00-\x20()<>\[\]:;@\\,."]')  # of an address
_BLANK_CATEGORIES: Final = frozenset({"Zs", "Zl", "Zp", "Cc", "Cf", "Cs"})


def decode(value: bytes) -> str:
    """Return the value as a mail program shows it. Parts that cannot be decoded are not changed."""
    return "".join(_pieces(value))


def is_blank(value: bytes) -> bool:
    """Return True if a header value has no visible character after decoding (rule R6)."""
    if b"=?" not in value and _VISIBLE_ASCII.search(value):
        return False
    if len(value) <= MAX_CACHED_BYTES:
        return _cached_is_blank(value)
    return _is_blank(value)


def _is_blank(value: bytes) -> bool:
    return all(shows_nothing(letter) for piece in _pieces(value) for letter in piece)


_cached_is_blank: Final = lru_cache(_CACHED_VALUES)(_is_blank)


def shows_nothing(letter: str) -> bool:
    """Return True if a mail program shows this character as a blank, or does not show it."""
    if "!" <= letter <= "~":
        return False
    if unicodedata.category(letter) in _BLANK_CATEGORIES or letter in _BLANKS:
        return True
    return any(first <= ord(letter) <= last for first, last in _BLANK_RANGES)


def has_deceptive_letter(text: str) -> bool:
    """Return True if an address with this text may look like another address, or may be parsed as
    another address.

    This is the case if the text is not in NFC, if it contains an invisible non-ASCII character, or
    if it contains a character that another program may convert to a character of the address
    syntax.
    """
    if not unicodedata.is_normalized("NFC", text):
        return True
    return any(
        shows_nothing(letter) or _SYNTAX.search(unicodedata.normalize("NFKC", letter)) is not None
        for letter in text
        if not letter.isascii()
    )


def _pieces(value: bytes) -> Iterator[str]:
    at = 0
    follows_word = False
    for match in _ENCODED_WORD.finditer(value):
        between = value[at : match.start()]
        # White space between two encoded words is not part of the text (RFC 2047, 6.2).
        if between and not (follows_word and _BETWEEN_WORDS.fullmatch(between)):
            yield decode_octets(between, "utf-8")
        charset = match[1].split(b"*", 1)[0].decode("ascii", "replace")
        yield decode_octets(_octets(match[2], match[3]), charset)
        at, follows_word = match.end(), True
    if at < len(value):
        yield decode_octets(value[at:], "utf-8")


def _octets(encoding: bytes, text: bytes) -> bytes:
    if encoding in b"Qq":
        spaced = text.replace(b"_", b" ")
        return _Q_OCTET.sub(lambda match: bytes.fromhex(match[1].decode()), spaced)
    plain = _NOT_BASE64.sub(b"", text)
    if len(plain) % 4 == 1:
        plain = plain[:-1]
    return binascii.a2b_base64(plain + b"=" * (-len(plain) % 4))


def is_charset(name: str) -> bool:
    """Return True if this lower-case text is the name of a charset that is used in mail.

    Only these names are looked up in Python's codecs, because Python caches every name that is
    looked up, even unknown names.
    """
    return _CHARSET.fullmatch(name) is not None


def decode_octets(octets: bytes, charset: str) -> str:
    """Decode text by its charset. If this charset is not used in mail, decode the text as
    Latin-1."""
    name = charset.lower()
    if not is_charset(name):
        name = "latin-1"
    try:
        return octets.decode("ks_c-5601" if name.startswith("ks_c") else name, "replace")
    except (LookupError, ValueError):
        return octets.decode("latin-1")
