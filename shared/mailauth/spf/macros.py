"""Expands the macros of SPF (RFC 7208, 7), such as %{i}, %{d2}, %{l1r-}, to a domain. Pure."""

from __future__ import annotations

import ipaddress
import re
from typing import Final
from urllib.parse import quote

from msgspec import Struct

MAX_NAME_CHARS: Final = 253
# c, r and t are only for explanations, which are not supported here.
MACRO: Final = re.compile(r"%\{([slodiphvSLODIPHV])(\d*)([rR]?)([.\-+,/_=]*)\}")
_ANY: Final = re.compile(MACRO.pattern + r"|%([%_-])")
_PLAIN: Final = {"%": "%", "_": " ", "-": "%20"}


class Macros(Struct, frozen=True):
    """The values of the macro letters."""

    sender: str
    domain: str
    address: ipaddress.IPv4Address | ipaddress.IPv6Address


def expand(text: str, macros: Macros) -> str:
    """Expand the macros of a text, and cut it on the left to the length of a name."""
    name = _ANY.sub(lambda found: _expanded(found, macros), text).rstrip(".")
    while len(name) > MAX_NAME_CHARS and "." in name:
        name = name.partition(".")[2]
    return name


def _expanded(found: re.Match[str], macros: Macros) -> str:
    letter, digits, turned, delimiters, plain = found.groups()
    if plain:
        return _PLAIN[plain]
    parts = re.split(f"[{re.escape(delimiters or '.')}]", _value(letter.lower(), macros))
    if turned:
        parts.reverse()
    if digits:
        parts = parts[-int(digits) :]
    value = ".".join(parts)
    return quote(value, safe="-._~") if letter.isupper() else value


def _value(letter: str, macros: Macros) -> str:
    local, _, host = macros.sender.rpartition("@")
    match letter:
        case "s":
            return macros.sender
        case "l":
            return local or "postmaster"
        case "o":
            return host
        case "i":
            address = macros.address
            if address.version == 4:
                return str(address)
            return ".".join(address.exploded.replace(":", ""))
        case "v":
            return "in-addr" if macros.address.version == 4 else "ip6"
        case "p":
            return "unknown"  # the RFC advises against its use (7.2)
        case _:
            return macros.domain
