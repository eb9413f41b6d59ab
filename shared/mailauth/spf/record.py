"""Parses SPF records (RFC 7208, 4.5, 4.6.1, 5, 6, 12) and expands their macros (RFC 7208, 7). This
module does no I/O.

A policy is evaluated in evaluation.py.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from typing import Final
from urllib.parse import quote

from msgspec import Struct

VERSION: Final = "v=spf1"
MAX_NAME_CHARS: Final = 253
# The macro letters c, r and t are valid only in explanations, which are not supported here.
MACRO: Final = re.compile(r"%\{([slodiphvSLODIPHV])(\d*)([rR]?)([.\-+,/_=]*)\}")
_TERM: Final = re.compile(r"([-+~?]?)([A-Za-z][A-Za-z0-9_.-]*)(?:([:/=])(.*))?", re.DOTALL)
_LENGTHS: Final = re.compile(r"(?:/(0|[1-9]\d?))?(?://(0|[1-9]\d{0,2}))?$")
_MACRO_TEXT: Final = re.compile(rf"(?:[\x21-\x24\x26-\x7e]|%[%_-]|{MACRO.pattern})*")
_TOP: Final = r"\.(?:[A-Za-z0-9]*[A-Za-z][A-Za-z0-9]*|[A-Za-z0-9]+-[A-Za-z0-9-]*[A-Za-z0-9])\.?"
_DOMAIN_END: Final = re.compile(rf".*(?:{_TOP}|{MACRO.pattern})$", re.DOTALL)
_WITH_HOST: Final = frozenset({"a", "mx"})
_NEEDS_VALUE: Final = frozenset({"include", "exists", "ip4", "ip6"})
_KNOWN: Final = frozenset({"all", "include", "a", "mx", "ptr", "ip4", "ip6", "exists"})

_ANY: Final = re.compile(MACRO.pattern + r"|%([%_-])")
_PLAIN: Final = {"%": "%", "_": " ", "-": "%20"}


class SpfSyntaxError(ValueError):
    """The record violates the grammar. The error contains the term."""


class Term(Struct, frozen=True):
    """One mechanism of a policy. `value` is the domain or network of the mechanism."""

    qualifier: str
    name: str
    value: str = ""
    ip4_length: int = 32
    ip6_length: int = 128


class Policy(Struct, frozen=True):
    """A parsed record. It has the mechanisms up to `all`, in order, and the target of the
    redirect."""

    terms: tuple[Term, ...]
    redirect: str = ""

    @property
    def ending(self) -> str:
        """Return the qualifier of `all`. Return "" if there is no `all`."""
        last = self.terms[-1] if self.terms else None
        return last.qualifier if last is not None and last.name == "all" else ""


class Macros(Struct, frozen=True):
    """The values that are inserted for macros."""

    sender: str
    domain: str
    address: ipaddress.IPv4Address | ipaddress.IPv6Address


def spf_records(rows: Iterable[str]) -> tuple[str, ...]:
    """Return the TXT records that are SPF records (RFC 7208, 4.5)."""
    return tuple(row for row in rows if row.lower() == VERSION or row.lower()[:7] == VERSION + " ")


def parse_record(record: str) -> Policy:
    """Parse a record. Raises SpfSyntaxError."""
    terms: list[Term] = []
    modifiers: dict[str, str] = {}
    for text in filter(None, record[len(VERSION) :].split(" ")):
        found = _TERM.fullmatch(text)
        if found is None:
            raise SpfSyntaxError(f"{text!r} is not a term")
        qualifier, name, separator, value = found.groups(default="")
        if separator == "=":
            _modifier(text, qualifier, name.lower(), value, modifiers)
        else:
            terms.append(_mechanism(text, qualifier or "+", name.lower(), separator + value))
    every = [term.name for term in terms]
    if "all" not in every:
        return Policy(tuple(terms), modifiers.get("redirect", ""))
    return Policy(tuple(terms[: every.index("all") + 1]))  # Terms after `all` are ignored (5.1).


def expand(text: str, macros: Macros) -> str:
    """Expand the macros of a text. If the result is too long, remove labels from its beginning."""
    name = _ANY.sub(lambda found: _expanded(found, macros), text).rstrip(".")
    while len(name) > MAX_NAME_CHARS and "." in name:
        name = name.partition(".")[2]
    return name


def _modifier(text: str, qualifier: str, name: str, value: str, known: dict[str, str]) -> None:
    if qualifier or not _MACRO_TEXT.fullmatch(value):
        raise SpfSyntaxError(f"{text!r} is not a term")
    if name not in {"redirect", "exp"}:
        return  # Unknown modifiers are ignored (6).
    if name in known:
        raise SpfSyntaxError(f"{name}= appears twice")
    _check_domain(text, value)
    known[name] = value


def _mechanism(text: str, qualifier: str, name: str, rest: str) -> Term:
    if name not in _KNOWN:
        raise SpfSyntaxError(f"{text!r}: there is no mechanism {name}")
    if name == "all":
        if rest:
            raise SpfSyntaxError(f"{text!r}: all takes no value")
        return Term(qualifier, name)
    if name in {"ip4", "ip6"}:
        return _network(text, qualifier, name, rest)
    ip4_length, ip6_length = 32, 128
    if name in _WITH_HOST:
        lengths = _LENGTHS.search(rest)
        assert lengths is not None  # The pattern also matches an empty text.
        rest = rest[: lengths.start()]
        ip4_length, ip6_length = int(lengths[1] or 32), int(lengths[2] or 128)
        if ip4_length > 32 or ip6_length > 128:
            raise SpfSyntaxError(f"{text!r}: a prefix longer than the address")
    if rest:
        _check_domain(text, rest.removeprefix(":") if rest.startswith(":") else "")
    elif name in _NEEDS_VALUE:
        raise SpfSyntaxError(f"{text!r}: {name} needs a domain")
    return Term(qualifier, name, rest.removeprefix(":"), ip4_length, ip6_length)


def _network(text: str, qualifier: str, name: str, rest: str) -> Term:
    found = re.fullmatch(r":([0-9A-Fa-f:.]+)(?:/(0|[1-9]\d{0,2}))?", rest)
    bits = 32 if name == "ip4" else 128
    fault = SpfSyntaxError(f"{text!r}: not a valid {name} network")
    if found is None:
        raise fault
    try:
        address = ipaddress.ip_address(found[1])
    except ValueError:
        raise fault from None
    length = int(found[2] or bits)
    if address.max_prefixlen != bits or length > bits:
        raise fault
    return Term(qualifier, name, str(address), length, length)


def _check_domain(text: str, domain: str) -> None:
    if not domain or not _MACRO_TEXT.fullmatch(domain) or not _DOMAIN_END.fullmatch(domain):
        raise SpfSyntaxError(f"{text!r}: not a valid domain")
    for macro in MACRO.finditer(domain):
        if macro[2] and not int(macro[2]):
            raise SpfSyntaxError(f"{text!r}: a macro that keeps 0 parts")


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
            return "unknown"  # The RFC advises against this macro (7.2).
        case _:
            return macros.domain
