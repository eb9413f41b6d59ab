"""Parses the text of single fields of clients.yaml into checked and normalised values.

Each parser raises FieldError, whose message describes the expected value.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Final

import idna

from shared.registry.client import OverQuota, Returns
from shared.topics.names import is_client_name
from shared.topics.records import MailClass, OnDoubt

MAX_DOMAIN_CHARS: Final = 253
MAX_LOCAL_OCTETS: Final = 64  # RFC 5321, 4.5.3.1.1
MAX_PATTERN_CHARS: Final = 254

_NAME: Final = "1 to 63 of a-z, 0-9 and inner hyphens"
ID_PATTERN: Final = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
_ID: Final = re.compile(ID_PATTERN)
_ID_WORDS: Final = "1 to 64 of A-Z, a-z, 0-9, '.', '_', '-', the first a letter or digit"
# The characters that may be used in a header value without quoting, folding or ambiguity.
CODE_PATTERN: Final = r"[A-Za-z0-9][A-Za-z0-9._:/+-]{0,63}"
_CODE: Final = re.compile(CODE_PATTERN)
_CODE_WORDS: Final = "1 to 64 of A-Z, a-z, 0-9 and any of . _ : / + -, the first a letter or digit"
LANE_PATTERN: Final = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_LANE: Final = re.compile(LANE_PATTERN)
_DOT_ATOM: Final = re.compile(r"[\w!#$%&'*+/=?^`{|}~-]+(?:\.[\w!#$%&'*+/=?^`{|}~-]+)*")
_PATTERN: Final = re.compile(r"(?:[^\s,;<>()\[\]\"\\\x00-\x20\x7f]|\\[*?])+")
# An escaped star or question mark, which stands for the character itself.
_ESCAPED: Final = re.compile(r"\\[*?]")


class FieldError(ValueError):
    """The text of a field is not valid; the message describes the expected value."""


def name(text: str) -> str:
    if not is_client_name(text):
        raise FieldError(_NAME)
    return text


def identifier(text: str) -> str:
    """Parse a mailing ID or a sub-client."""
    if not _ID.fullmatch(text):
        raise FieldError(_ID_WORDS)
    return text


def code(text: str) -> str:
    """Parse a value of X-bm-mailing."""
    if not _CODE.fullmatch(text):
        raise FieldError(_CODE_WORDS)
    return text


def parent(text: str) -> str:
    """Parse the name of another client, or "" if there is no parent."""
    return name(text) if text else ""


def domain(text: str) -> str:
    """Return a fully qualified domain as lower-case A-labels (IDNA 2008, mapped as in UTS 46)."""
    bare = text.removesuffix(".")
    try:
        normal = idna.encode(bare, uts46=True, std3_rules=True).decode().lower()
    except (idna.IDNAError, UnicodeError) as error:
        raise FieldError(f"a domain such as news.example.com ({error})") from None
    labels = normal.split(".")
    if len(normal) > MAX_DOMAIN_CHARS or len(labels) < 2 or labels[-1].isdecimal():
        raise FieldError("a fully qualified domain such as news.example.com")
    return normal


def address(text: str) -> str:
    """Parse a mail address without a display name, and normalise its domain."""
    local, at, host = text.rpartition("@")
    if not at or not _DOT_ATOM.fullmatch(local):
        raise FieldError("one bare address such as returns@example.com")
    if len(local.encode()) > MAX_LOCAL_OCTETS:
        raise FieldError(f"an address with at most {MAX_LOCAL_OCTETS} octets before the @")
    return f"{local}@{domain(host)}"


def network(text: str) -> str:
    """Parse an IP address or a network in CIDR notation."""
    try:
        if "/" not in text:
            return str(ipaddress.ip_address(text))
        found = ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise FieldError("an IP address or a network such as 192.0.2.0/24") from None
    if found.prefixlen == 0:
        raise FieldError("a network smaller than the whole Internet")
    try:
        return str(ipaddress.ip_network(text))
    except ValueError:
        raise FieldError(f"a network without host bits; did you mean {found}?") from None


def pattern(text: str) -> str:
    """Parse a block-list pattern: a recipient's address with the wildcards * and ?."""
    if not _PATTERN.fullmatch(text) or len(text) > MAX_PATTERN_CHARS or text.count("@") > 1:
        raise FieldError(
            r"an address, in which * matches any text and ? one character (\* and \?: themselves)"
        )
    local, at, host = text.lower().rpartition("@")
    return local + at + (_ascii_host(host) if at else host)


def _ascii_host(host: str) -> str:
    """Return the domain of a pattern as A-labels, because patterns and recipients are compared in
    this form."""
    labels = host.split(".")
    for place, label in enumerate(labels):
        if label.isascii():
            continue
        try:
            labels[place] = idna.encode(label, uts46=True, std3_rules=True).decode()
        except (idna.IDNAError, UnicodeError) as error:
            # A wildcard in a label that is not ASCII is an error, too, because the A-label differs
            # from the text.
            raise FieldError(f"a domain whose labels are whole or in ASCII ({error})") from None
    return ".".join(labels)


def has_free_wildcards(text: str) -> bool:
    """Return True if a pattern has a wildcard other than the star in `*@domain`.

    A pattern with such a wildcard must be compared with each recipient. All other patterns are
    looked up in a table.
    """
    rest = _ESCAPED.sub("_", text.removeprefix("*@"))
    return "*" in rest or "?" in rest or (text.startswith("*@") and "@" in rest)


def lane(text: str) -> str:
    """Parse the name of a lane. "" means that the recipient's domain determines the lane."""
    if text and not _LANE.fullmatch(text):
        raise FieldError("the name of a lane such as gmail, or nothing")
    return text


def pool(text: str) -> str:
    """Parse the name of a pool of sources. "" means that the mail class determines the pool."""
    if text and not _LANE.fullmatch(text):
        raise FieldError("the name of a pool such as marketing, or nothing")
    return text


def mail_class(text: str) -> MailClass:
    if text not in MailClass._value2member_map_:
        raise FieldError("one of " + ", ".join(MailClass))
    return MailClass(text)


def on_doubt(text: str) -> OnDoubt:
    if text not in OnDoubt._value2member_map_:
        raise FieldError("one of " + ", ".join(OnDoubt))
    return OnDoubt(text)


def returns(text: str) -> Returns:
    if text not in Returns._value2member_map_:
        raise FieldError("one of " + ", ".join(Returns))
    return Returns(text)


def over_quota(text: str) -> OverQuota:
    if text not in OverQuota._value2member_map_:
        raise FieldError("one of " + ", ".join(OverQuota))
    return OverQuota(text)


def truth(text: str) -> bool:
    if text.lower() not in {"true", "false"}:
        raise FieldError("true or false")
    return text.lower() == "true"


def whole_number(text: str, lowest: int, highest: int) -> int:
    plain = len(text) <= 12 and text.isascii() and text.isdecimal()
    if not plain or not lowest <= int(text) <= highest:
        raise FieldError(f"a whole number from {lowest} to {highest}")
    return int(text)


def is_part_of(host: str, parent: str) -> bool:
    """Return True if a normalised host is the domain `parent` or a sub-domain of `parent`."""
    return host == parent or host.endswith("." + parent)
