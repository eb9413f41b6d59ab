"""Cleans text that a peer has sent, for events, logs and headers.

The text of a peer may be in any encoding, contain terminal escapes and have any length. The result
has at most MAX_TEXT_BYTES of printable UTF-8 and LF. No character in the result is invisible,
changes the direction of the text, or controls a terminal.
"""

from __future__ import annotations

import re
from typing import Final

MAX_TEXT_BYTES: Final = 1_024
# A text of at most this number of characters cannot exceed the limit in UTF-8.
_SURELY_SHORT: Final = MAX_TEXT_BYTES // 4
# Matches the most frequent unprintable characters: C0, DEL, C1, line and paragraph separators, and
# marks that change the direction of a text. LF is excluded, because it separates the lines of a
# reply.
_CONTROLS: Final = re.compile(
    "[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]+"
)
# Matches surrogates. A surrogate stands for a byte that was not UTF-8, or it cannot be encoded.
_SURROGATES: Final = re.compile("[\ud800-\udfff]")
_CUT: Final = "..."


def clean_text(text: str | bytes) -> str:
    """Replace each run of unprintable characters by one space, and cut the text to the limit.

    Bytes that are not UTF-8, and surrogates, become U+FFFD.
    """
    if isinstance(text, bytes):
        text = text.decode("utf-8", "replace")
    if text.isprintable() and len(text) <= _SURELY_SHORT:
        return text
    cleaned = _CONTROLS.sub(" ", _SURROGATES.sub("\ufffd", text))[: MAX_TEXT_BYTES + 1]
    if not cleaned.replace("\n", "").isprintable():
        cleaned = _printable(cleaned)
    data = cleaned.encode("utf-8")
    if len(data) <= MAX_TEXT_BYTES:
        return data.decode("utf-8")
    return data[: MAX_TEXT_BYTES - len(_CUT)].decode("utf-8", "ignore") + _CUT


def _printable(text: str) -> str:
    shown = "".join(char if char.isprintable() or char == "\n" else "\0" for char in text)
    return _CONTROLS.sub(" ", shown)
