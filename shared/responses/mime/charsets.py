"""Guesses the charset of text that says none, or says that it is ASCII or UTF-8 and is not. Pure.

Owns: telling the 8-bit charsets of reports apart by how their octets stand together. In Latin-1
single letters stand between ASCII ones, in Cyrillic charsets whole words do, and in Chinese and
Japanese ones octets come in pairs, without spaces. Korean is not recognised. Guarantees: never
raises; at most MAX_RUNS runs are looked at, and nothing after them.
"""

from __future__ import annotations

import re
from collections import Counter
from itertools import islice
from typing import Final

MAX_RUNS: Final = 400
_MIN_OCTETS: Final = 8  # fewer prove nothing
_MIN_WORD: Final = 3.0  # octets of a word, on the average

_RUN: Final = re.compile(rb"[\x80-\xff]+")
# Chinese and Japanese have no spaces between words.
_SPACED: Final = re.compile(rb"[\x80-\xff][,.:;!]? (?=[\x80-\xff])")
# Kana begin with these octets in EUC-JP.
_KANA: Final = frozenset({0xA4, 0xA5})
_SHIFT_JIS_KANA: Final = re.compile(rb"\x82[\x9f-\xf1]|\x83[\x40-\x96]")


def guess_charset(octets: bytes) -> str:
    """The most likely charset of octets that are no UTF-8; Latin-1 if nothing says more."""
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


def _first_runs(octets: bytes) -> bytes:
    """The octets up to the end of the last run that is looked at, for all counts alike."""
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
    """Small letters, the most frequent ones, have the upper half of the octets in Windows-1251."""
    counts = Counter(b"".join(runs))
    small = sum(count for octet, count in counts.items() if octet >= 0xE0)
    capital = sum(count for octet, count in counts.items() if 0xC0 <= octet < 0xE0)
    return "cp1251" if small > capital else "koi8-r"
