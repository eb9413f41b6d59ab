"""Judges a source address by facts from this host and from the DNS. Pure.

Large mailbox providers refuse mail from an address whose PTR record is missing or does not lead
back to the address (forward-confirmed reverse DNS), or whose EHLO name differs from the PTR name.

Owns: the rule that decides whether a finding is an error or a warning. Does not own: the look-ups
(edge/sources/selecting.py). Guarantees: a missing answer of the DNS is a warning, never an error,
because it says nothing about the address.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from enum import StrEnum

from msgspec import Struct

from services.deliver.core.routing.addresses import Addresses, Lookup
from services.deliver.core.routing.sites import Unresolved
from services.deliver.core.sources.table import Source


class Severity(StrEnum):
    """The severity of a finding."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


class Finding(Struct, frozen=True):
    """The result of the checks of one address."""

    source: str
    address: str
    severity: Severity
    text: str

    def __str__(self) -> str:
        return f"source {self.source} ({self.address}): {self.text}"


class Facts(Struct, frozen=True):
    """The facts about an address.

    `bind_fault` is the reason why this host cannot bind to the address. `pointers` has the names in
    the PTR records of the address. `forward` has the addresses of each of these names.
    """

    bind_fault: str
    pointers: tuple[str, ...] | Unresolved = ()
    forward: Mapping[str, Lookup] = {}


def has_reverse_name(address: str) -> bool:
    """Return whether the public DNS may have a name for this address."""
    return ipaddress.ip_address(address).is_global


def judge(source: Source, address: str, facts: Facts) -> Finding:
    """Return the worst finding about one address of a source."""
    severity, text = _judge(source, address, facts)
    return Finding(source.name, address, severity, text)


def _judge(source: Source, address: str, facts: Facts) -> tuple[Severity, str]:
    if facts.bind_fault:
        text = f"cannot be bound to ({facts.bind_fault}); give this host the address"
        return Severity.ERROR, text
    if not has_reverse_name(address):
        return Severity.WARNING, "is not a public address; its PTR record was not checked"
    if isinstance(facts.pointers, Unresolved):
        return Severity.WARNING, f"the DNS gave no PTR record: {facts.pointers.reason}"
    if not facts.pointers:
        return Severity.ERROR, f"has no PTR record; add one with the name {source.ehlo_name}"
    back = [name for name in facts.pointers if _leads_back(facts.forward.get(name), address)]
    if not back:
        names = ", ".join(facts.pointers)
        if any(isinstance(facts.forward.get(name), Unresolved) for name in facts.pointers):
            return Severity.WARNING, f"the DNS gave no addresses of its PTR name {names}"
        return Severity.ERROR, f"its PTR name {names} does not resolve to it by A or AAAA"
    ehlo_name = source.ehlo_name.lower().rstrip(".")
    if ehlo_name not in back:
        what = f"its EHLO name is {ehlo_name}, its PTR name {', '.join(back)}; make them equal"
        return Severity.ERROR, what
    return Severity.OK, f"{ehlo_name} and {address} resolve to each other"


def _leads_back(found: Lookup | None, address: str) -> bool:
    if not isinstance(found, Addresses):
        return False
    wanted = ipaddress.ip_address(address)
    return any(ipaddress.ip_address(ip) == wanted for ip in found.ips)
