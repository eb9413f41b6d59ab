"""Domains in one form: lower-case A-labels, and the organisational domain of each.

Owns: normalisation (RFC 5321 host names, RFC 5891) and the Public Suffix List, which is read
once, when it is first needed. Does not own: DNS. Promises: never raises, answers are cached.
"""

from __future__ import annotations

import re
import unicodedata
from functools import cache, lru_cache
from typing import Final

import idna
from publicsuffixlist import PublicSuffixList

MAX_DOMAIN_CHARS: Final = 253  # 255 octets in DNS, less the two that are not written
# Recipients' domains repeat: the large providers, and a tail of company domains.
_CACHED_DOMAINS: Final = 16_384

_KELVIN_SIGN: Final = "\u212a"  # the one other letter whose lower case is ASCII

_LABEL: Final = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_HOST_NAME: Final = re.compile(rf"(?:{_LABEL}\.)+{_LABEL}", re.ASCII)


@lru_cache(_CACHED_DOMAINS)
def normalise(domain: str) -> str:
    """The domain as lower-case A-labels, or "" where it is not a host name of two labels or more.

    Of UTS 46 only case and normal form C are mapped, then IDNA 2008 is applied strictly: wide
    letters, dots that are none and invisible characters make a look-alike, not the same domain.
    """
    if len(domain) > MAX_DOMAIN_CHARS:
        return ""
    if not domain.isascii():
        domain = _to_ascii(domain)
    normal = domain.lower()
    if len(normal) > MAX_DOMAIN_CHARS or not _HOST_NAME.fullmatch(normal):
        return ""
    # A last label of digits is an IP address, or looks like one (RFC 1123, 2.1).
    return "" if normal.rpartition(".")[2].isdecimal() else normal


def _to_ascii(domain: str) -> str:
    if _KELVIN_SIGN in domain:
        return ""
    # Letter by letter, as UTS 46 does: str.lower() alone would make a last capital sigma the
    # final one, which is another domain.
    folded = unicodedata.normalize("NFC", "".join(map(str.lower, domain)))
    try:
        return idna.encode(folded, strict=True, uts46=False).decode("ascii")
    except (idna.IDNAError, UnicodeError):
        return ""


def domain_of(address: str) -> str:
    """What follows the last @ of an address; "" where there is none."""
    return address.rpartition("@")[2] if "@" in address else ""


@lru_cache(_CACHED_DOMAINS)
def organisational_domain(domain: str) -> str:
    """The public suffix and one label more (RFC 7489, 3.2); "" for what is no domain.

    The list's private part counts too: two customers of one hosting company are two. A domain
    that is a public suffix itself is its own organisational domain. Under a top-level
    domain that the list does not name, the last label is the public suffix.
    """
    normal = normalise(domain)
    if not normal:
        return ""
    return _suffix_list().privatesuffix(normal) or normal


@cache
def _suffix_list() -> PublicSuffixList:
    return PublicSuffixList(accept_unknown=True)
