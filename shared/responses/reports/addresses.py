"""Finds the addresses in a report and returns them in their normal form.

This module owns the decision which text in a report is a recipient's address. No function raises an
exception. This module does no I/O.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from shared.mail.address import ParsedAddress, parse_path
from shared.mail.encoded_words import decode

# Matches an address in running text. A match has a limited length, and cannot begin inside an
# address.
ADDRESS_PATTERN: Final = (
    r"(?<![\w.!#$%&*+/=?^`{|}~-])(?<!\w')[^\s\x00-\x1f\x7f-\x9f<>()\[\]\"',;:@\\|]{1,64}"
    r"(?:'[^\s\x00-\x1f\x7f-\x9f<>()\[\]\"',;:@\\|]{1,40})?@"
    r"(?:[^\s\x00-\x1f\x7f-\x9f<>()\[\]\"',;:@\\|=/?&#%!$+{}~]{1,190})(?<![.*_-])"
)
_ADDRESS: Final = re.compile(rf"\"[^\"\n@]{{1,60}}\"@[\w.-]{{1,190}}|{ADDRESS_PATTERN}")
_TYPE: Final = re.compile(r"^\s{0,20}[\w-]{1,20}\s{0,5};")
# RFC 6533, 3: \x{HEX} is a character of an internationalised address.
_XTEXT: Final = re.compile(r"\\x\{([0-9a-f]{2,6})\}", re.IGNORECASE)
_ROUTE: Final = re.compile(r"^@[^:]{1,200}:")
# Matches the note in which Postfix, Sendmail or Exim report the address before its alias was
# applied.
_CHANGED: Final = re.compile(
    r"\((?:expanded|(?:ultimately )?generated) (?:from|by):?\s{1,4}<?([^\s<>()]{1,254})>?\)?",
    re.IGNORECASE,
)
_MAX_CODE_POINT: Final = 0x10FFFF
_MAX_CHARS: Final = 1_000
# A report contains at most three aliases of a recipient in its fields, and one in its text.
MAX_ALIASES: Final = 4


def find_address(text: str) -> str:
    """Return the first address in a text, in its normal form. Return "" if there is none."""
    found = _ADDRESS.search(text[:_MAX_CHARS])
    return normal_form(found[0]) if found else ""


def find_addresses(text: str) -> list[str]:
    """Return all addresses in a text, in their normal form."""
    return [normal_form(found[0]) for found in _ADDRESS.finditer(text)]


def aliases_in(text: str) -> list[str]:
    """Return the addresses in notes about aliases, such as `(expanded from <a@b.example>)`."""
    found = (find_address(each[1]) for each in _CHANGED.finditer(text[:_MAX_CHARS]))
    return [address for address in found if address]


def without_aliases(text: str) -> str:
    """Remove the notes about aliases, because "from:" in a note could be read as a reason."""
    return _CHANGED.sub("", text) if " from" in text or " by" in text else text


def distinct(addresses: Iterable[str], but: str) -> tuple[str, ...]:
    """Return the first MAX_ALIASES different addresses. Skip empty texts and the address `but`."""
    return tuple(each for each in dict.fromkeys(addresses) if each and each != but)[:MAX_ALIASES]


def typed_address(value: str) -> str:
    """Return the address of a field like `rfc822; <a@b.example>` (RFC 3464, 2.3; RFC 6533, 3)."""
    value = _XTEXT.sub(_character, _TYPE.sub("", value[:_MAX_CHARS], count=1)).strip()
    if value.startswith("<"):
        value = value[1:].split(">")[0]
    value = _ROUTE.sub("", value)
    if "=?" in value:
        value = decode(value.encode("utf-8", "replace"))
    return find_address(value)


def normal_form(address: str) -> str:
    """Return the normal form of an address. If the address is invalid, change only its domain."""
    parsed = parse_path(address)
    if isinstance(parsed, ParsedAddress):
        return parsed.address
    local, _, domain = address.rstrip(",.;:").rpartition("@")
    return f"{local}@{domain.lower()}"


def is_public(address: str) -> bool:
    """Return True if the domain may be public: it has a dot, and no ending such as `.local`."""
    domain = address.rpartition("@")[2]
    return "." in domain and not domain.endswith((".local", ".localdomain", ".lan", ".internal"))


def _character(found: re.Match[str]) -> str:
    point = int(found[1], 16)
    return chr(point) if point <= _MAX_CODE_POINT and not 0xD800 <= point <= 0xDFFF else ""
