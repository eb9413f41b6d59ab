"""Converts a part to the text that a person reads. The text has at most MAX_CHARS characters.

This module decodes transfer encodings, HTML and charsets. If a part declares no charset and
contains the escapes of ISO-2022-JP, that charset is used. Otherwise, a part that declares no
charset, ASCII or UTF-8 is decoded as UTF-8. If its octets are not UTF-8, its charset is guessed
from the arrangement of the 8-bit octets. In Latin-1, 8-bit octets are single letters between ASCII
letters. In Cyrillic charsets, they form whole words. In Chinese and Japanese charsets, they form
pairs without spaces. Korean is not recognised. No function raises an exception. The work is linear.
A guess reads at most MAX_RUNS runs of octets. This module does no I/O.
"""

from __future__ import annotations

import binascii
import html
import re
from collections import Counter
from itertools import islice
from typing import Final

from shared.mail.encoded_words import decode_octets, is_charset
from shared.responses.mime.parts import Part, first

MAX_CHARS: Final = 16_384
_MAX_BYTES: Final = 65_536  # The limit for a part before its transfer encoding is removed.

_SOFT_BREAK: Final = re.compile(rb"=[ \t]*\n")
_QP_OCTET: Final = re.compile(rb"=([0-9A-Fa-f]{2})")
_NOT_BASE64: Final = re.compile(rb"[^A-Za-z0-9+/]+")
_BREAKING_TAG: Final = re.compile(
    r"<(?:br|/?p|/?div|/?tr|/?td|/?li|/?h[1-6]|/?table|hr)\b[^<>]{0,1000}>", re.I
)
_TAG: Final = re.compile(r"<[a-z!/?][^<>]{0,1000}>", re.IGNORECASE)
_HIDDEN_START: Final = re.compile(r"<(style|script|head|title)\b", re.IGNORECASE)
_SPACES: Final = re.compile(r"[ \t\u00a0\u200b]+")
_LINES: Final = re.compile(r" ?\n[ \n]*\n ?| ?\n ?")
_UTF_8: Final = frozenset({"us-ascii", "ascii", "utf-8", "utf8"})
_JAPANESE: Final = b"\x1b$"
_HTML: Final = frozenset({"text/html", "application/xhtml+xml"})

MAX_RUNS: Final = 400
_MIN_OCTETS: Final = 8  # No charset is guessed from fewer octets.
_MIN_WORD: Final = 3.0  # If the runs are shorter on average, the charset is Latin-1.

_RUN: Final = re.compile(rb"[\x80-\xff]+")
# Matches a space between words. Chinese and Japanese have no spaces between words.
_SPACED: Final = re.compile(rb"[\x80-\xff][,.:;!]? (?=[\x80-\xff])")
# In EUC-JP, the first octet of a kana is one of these octets.
_KANA: Final = frozenset({0xA4, 0xA5})
_SHIFT_JIS_KANA: Final = re.compile(rb"\x82[\x9f-\xf1]|\x83[\x40-\x96]")


def text_of(part: Part) -> str:
    """Return the text of a part. HTML is converted to text."""
    octets = _decoded(part)
    text = _decode(octets, part.charset)
    if part.content_type in _HTML or text.lstrip()[:15].lower().startswith(
        ("<html", "<!doctype html")
    ):
        text = html_to_text(text)
    return text[:MAX_CHARS]


def html_to_text(source: str) -> str:
    """Return the visible text of HTML. Each block becomes a line."""
    source = _without_hidden(source[:_MAX_BYTES])
    source = _SPACES.sub(" ", source.replace("\n", " "))
    source = _TAG.sub("", _BREAKING_TAG.sub("\n", source))
    source = html.unescape(source).replace("\r", "\n").replace("\u00a0", " ")
    return _LINES.sub(_one_break, source).strip()


def guess_charset(octets: bytes) -> str:
    """Return the likely charset of octets that are not UTF-8. In case of doubt, return Latin-1."""
    octets = _first_runs(octets)
    runs = _RUN.findall(octets)
    size = sum(map(len, runs))
    if size < _MIN_OCTETS:
        return "latin-1"
    if len(_SHIFT_JIS_KANA.findall(octets)) * 8 > size:
        return "cp932"
    is_spaced = len(_SPACED.findall(octets)) * 3 >= len(runs)
    if not is_spaced and all(len(run) % 2 == 0 for run in runs):
        return _of_pairs(runs)
    if size / len(runs) < _MIN_WORD:
        return "latin-1"
    return _cyrillic(runs)


def _one_break(found: re.Match[str]) -> str:
    return "\n\n" if found[0].count("\n") > 2 else "\n"


def _without_hidden(source: str) -> str:
    """Remove style, script and head elements, except those that are not closed."""
    kept: list[str] = []
    at = 0
    lowered = source.lower()
    while (found := _HIDDEN_START.search(source, at)) is not None:
        end = lowered.find(f"</{found[1].lower()}", found.end())
        if end < 0:
            break
        kept.append(source[at : found.start()])
        at = end
    return "".join([*kept, source[at:]])


def _decoded(part: Part) -> bytes:
    octets = part.body[:_MAX_BYTES]
    encoding = first(part.fields, "content-transfer-encoding").lower()
    if encoding.startswith("quoted"):
        octets = _SOFT_BREAK.sub(b"", octets)
        return _QP_OCTET.sub(lambda found: bytes((int(found[1], 16),)), octets)
    if encoding.startswith("base64"):
        return _base64(octets)
    return octets


def _base64(octets: bytes) -> bytes:
    letters = _NOT_BASE64.sub(b"", octets)
    if len(letters) % 4 == 1:
        letters = letters[:-1]
    try:
        return binascii.a2b_base64(letters + b"=" * (-len(letters) % 4)).replace(b"\r\n", b"\n")
    except (binascii.Error, ValueError):
        return octets


def _decode(octets: bytes, declared: str) -> str:
    charset = _known(declared)
    if charset and charset not in _UTF_8:
        return decode_octets(octets, charset)
    if not charset and _JAPANESE in octets:
        return decode_octets(octets, "iso-2022-jp")
    try:
        return octets.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.start > len(octets) - 4:  # The octets may end within a character.
            return octets.decode("utf-8", "ignore")
    return octets.decode(guess_charset(octets), "replace")


def _known(charset: str) -> str:
    """Return the charset. Return "" if Python cannot decode it, for example unknown-8bit."""
    names = (charset, charset.removeprefix("x-"))
    return next((name for name in names if is_charset(name)), "")


def _first_runs(octets: bytes) -> bytes:
    """Return the octets up to the end of run number MAX_RUNS. Only these octets are counted."""
    last = next(islice(_RUN.finditer(octets), MAX_RUNS - 1, None), None)
    return octets[: last.end()] if last else octets


def _of_pairs(runs: list[bytes]) -> str:
    leads = Counter(octet for run in runs for octet in run[::2])
    is_kana = sum(leads[octet] for octet in _KANA) * 4 > leads.total()
    charset = "euc-jp" if is_kana else "gb18030"
    try:
        b"".join(runs).decode(charset)
    except UnicodeDecodeError:
        return _cyrillic(runs)
    return charset


def _cyrillic(runs: list[bytes]) -> str:
    """Return the Cyrillic charset in which most letters of these runs are lower-case.

    Lower-case letters are 0xE0 or more in Windows-1251, and less than 0xE0 in KOI8-R.
    """
    counts = Counter(b"".join(runs))
    small = sum(count for octet, count in counts.items() if octet >= 0xE0)
    capital = sum(count for octet, count in counts.items() if 0xC0 <= octet < 0xE0)
    return "cp1251" if small > capital else "koi8-r"
