"""The text of a part as a person would read it, at most MAX_CHARS characters. Pure.

Owns: transfer encodings, charsets and HTML. Guarantees: never raises; the work is linear. An
unknown charset is guessed: UTF-8, then ISO-2022-JP if there are its escapes, then charsets.py.
"""

from __future__ import annotations

import binascii
import html
import re
from typing import Final

from shared.mail.encoded_words import decode_octets, is_charset
from shared.responses.mime.charsets import guess_charset
from shared.responses.mime.fields import first
from shared.responses.mime.parts import Part

MAX_CHARS: Final = 16_384
_MAX_BYTES: Final = 65_536  # of a part before its transfer encoding is removed

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


def text_of(part: Part) -> str:
    """The text of a part, HTML without its tags."""
    octets = _decoded(part)
    text = _decode(octets, part.charset)
    if part.content_type in _HTML or text.lstrip()[:15].lower().startswith(
        ("<html", "<!doctype html")
    ):
        text = html_to_text(text)
    return text[:MAX_CHARS]


def html_to_text(source: str) -> str:
    """The visible text of HTML: blocks become lines."""
    source = _without_hidden(source[:_MAX_BYTES])
    source = _SPACES.sub(" ", source.replace("\n", " "))
    source = _TAG.sub("", _BREAKING_TAG.sub("\n", source))
    source = html.unescape(source).replace("\r", "\n").replace("\u00a0", " ")
    return _LINES.sub(_one_break, source).strip()


def _one_break(found: re.Match[str]) -> str:
    return "\n\n" if found[0].count("\n") > 2 else "\n"


def _without_hidden(source: str) -> str:
    """Remove style, script and head elements; one that is not closed hides nothing."""
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
        if error.start > len(octets) - 4:  # cut within a character
            return octets.decode("utf-8", "ignore")
    return octets.decode(guess_charset(octets), "replace")


def _known(charset: str) -> str:
    """The charset if it can be decoded; "" for one that says nothing, such as unknown-8bit."""
    names = (charset, charset.removeprefix("x-"))
    return next((name for name in names if is_charset(name)), "")
