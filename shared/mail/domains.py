"""Normalises domains to lower-case A-labels, and finds their organisational domains.

Host names are normalised as RFC 5321 and RFC 5891 require. The Public Suffix List is loaded once,
on first use. The DNS is not queried. No function raises an exception, and results are cached.
"""

from __future__ import annotations

import re
import unicodedata
from functools import cache, lru_cache
from typing import Final

import idna
from publicsuffixlist import PublicSuffixList

MAX_DOMAIN_CHARS: Final = 253  # A name of 255 octets in the DNS has 253 characters as text.
# Most recipients are at a few large providers, and the others are at many company domains.
_CACHED_DOMAINS: Final = 16_384

_KELVIN_SIGN: Final = "\u212a"  # The only non-ASCII character whose lower case is ASCII.

_LABEL: Final = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_HOST_NAME: Final = re.compile(rf"(?:{_LABEL}\.)+{_LABEL}", re.ASCII)


@lru_cache(_CACHED_DOMAINS)
def normalise(domain: str) -> str:
    """Return a domain as lower-case A-labels. Return "" if it is not a host name with two or more
    labels.

    First, two mappings of UTS 46 are applied: lower case and normal form C. After that, the domain
    must be valid by IDNA 2008. Full-width characters, look-alikes of dots and invisible characters
    are not mapped to other characters.
    """
    if len(domain) > MAX_DOMAIN_CHARS:
        return ""
    if not domain.isascii():
        domain = _to_ascii(domain)
    normal = domain.lower()
    if len(normal) > MAX_DOMAIN_CHARS or not _HOST_NAME.fullmatch(normal):
        return ""
    # A name whose last label consists of digits is an IP address or looks like one (RFC 1123, 2.1).
    return "" if normal.rpartition(".")[2].isdecimal() else normal


def _to_ascii(domain: str) -> str:
    if _KELVIN_SIGN in domain:
        return ""
    # As in UTS 46, each character is converted separately. str.lower() of the whole text would
    # convert a capital sigma at the end to a final sigma, and the result would be another domain.
    folded = unicodedata.normalize("NFC", "".join(map(str.lower, domain)))
    try:
        return idna.encode(folded, strict=True, uts46=False).decode("ascii")
    except (idna.IDNAError, UnicodeError):
        return ""


def domain_of(address: str) -> str:
    """Return the part after the last @ of an address. Return "" if there is no @."""
    return address.rpartition("@")[2] if "@" in address else ""


@lru_cache(_CACHED_DOMAINS)
def organisational_domain(domain: str) -> str:
    """Return the public suffix and one more label (RFC 7489, 3.2). Return "" if the text is not a
    domain.

    The private part of the Public Suffix List is used, too, so two customers of one hosting company
    have different organisational domains. The organisational domain of a public suffix is the
    suffix itself. Under a top-level domain that is not in the list, the last label is the public
    suffix.
    """
    normal = normalise(domain)
    if not normal:
        return ""
    return _suffix_list().privatesuffix(normal) or normal


@cache
def _suffix_list() -> PublicSuffixList:
    return PublicSuffixList(accept_unknown=True)
