"""Evaluates SPF (RFC 7208): decides whether the policy of a domain allows an IP address to send
mail.

This module owns check_host() with its limits (4.6.4), and finds the qualifier of a policy's `all`.
The grammar is in record.py. The caller passes a function for DNS look-ups, so this module does no
I/O. No record causes an exception. If the DNS is unavailable, the result is `temperror`, never
`none`. The HELO name is not known here, so %{h} is replaced by the domain.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from enum import StrEnum
from typing import Final

from msgspec import Struct

from shared.mailauth.spf.record import (
    Macros,
    Policy,
    SpfSyntaxError,
    Term,
    expand,
    parse_record,
    spf_records,
)

MAX_LOOKUPS: Final = 10  # The terms include, a, mx, ptr, exists and redirect are counted.
MAX_VOID_LOOKUPS: Final = 2
MAX_NAMES: Final = 10  # The limit for the hosts of one mx term, and for the names of one ptr term.

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class Rows(Struct, frozen=True):
    """The DNS records of one type at one name.

    `rows` is () if the name has no records of this type, or if the name does not exist.
    """

    rows: tuple[str, ...] = ()
    exists: bool = True


class Away(Struct, frozen=True):
    """The DNS did not answer, so it is unknown whether the name has records."""

    reason: str


# A function that returns the records for a name and a type (TXT, MX, A, AAAA, PTR). The strings of
# a TXT record are joined. An MX record has the form "10 host". Host names have no trailing dot.
LookUp = Callable[[str, str], Rows | Away]


class Result(StrEnum):
    """The results of RFC 7208, 2.6."""

    NONE = "none"
    NEUTRAL = "neutral"
    PASS = "pass"  # noqa: S105 - a result name of the RFC
    FAIL = "fail"
    SOFTFAIL = "softfail"
    TEMPERROR = "temperror"
    PERMERROR = "permerror"


_QUALIFIED: Final = {
    "+": Result.PASS,
    "-": Result.FAIL,
    "~": Result.SOFTFAIL,
    "?": Result.NEUTRAL,
}


class Evaluation(Struct, frozen=True):
    """A result, the reason if it is an error, and the number of look-ups."""

    result: Result
    reason: str = ""
    lookups: int = 0
    void_lookups: int = 0


class _Error(Exception):
    def __init__(self, result: Result, reason: str) -> None:
        super().__init__(reason)
        self.result = result


def check_host(ask: LookUp, domain: str, address: str, sender: str = "") -> Evaluation:
    """Evaluate the policy of `domain` for mail from this IP address (RFC 7208, 4)."""
    check = _Check(ask, ipaddress.ip_address(address), sender or f"postmaster@{domain}")
    try:
        result, reason = check.host(domain), ""
    except _Error as error:
        result, reason = error.result, str(error)
    return Evaluation(result, reason, check.lookups, check.voids)


def ending(ask: LookUp, domain: str) -> str:
    """Follow the redirects of a policy. Return the qualifier of `all` in the last policy, or ""."""
    for _ in range(MAX_LOOKUPS + 1):
        answer = ask(domain, "TXT")
        records = spf_records(answer.rows) if isinstance(answer, Rows) else ()
        if len(records) != 1:
            return ""
        try:
            policy = parse_record(records[0])
        except SpfSyntaxError:
            return ""
        if policy.ending or not policy.redirect or "%" in policy.redirect:
            return policy.ending
        domain = policy.redirect
    return ""


class _Check:
    """One evaluation, which counts its look-ups."""

    def __init__(self, ask: LookUp, address: Address, sender: str) -> None:
        mapped = getattr(address, "ipv4_mapped", None)
        self._address: Address = mapped or address
        self._type = "A" if self._address.version == 4 else "AAAA"
        self._ask = ask
        self._sender = sender
        self.lookups = 0
        self.voids = 0

    def host(self, domain: str) -> Result:
        """Evaluate the policy of one domain. Raises _Error."""
        policy = self._policy(domain)
        if policy is None:
            return Result.NONE
        for term in policy.terms:
            if self._matches(term, domain):
                return _QUALIFIED[term.qualifier]
        if not policy.redirect:
            return Result.NEUTRAL
        self._count()
        target = self._expand(policy.redirect, domain)
        result = self.host(target)
        if result is Result.NONE:
            raise _Error(Result.PERMERROR, f"redirect={target}: there is no SPF record")
        return result

    def _policy(self, domain: str) -> Policy | None:
        records = spf_records(self._rows(domain, "TXT", can_be_void=False))
        if not records:
            return None
        if len(records) > 1:
            raise _Error(Result.PERMERROR, f"{domain} has {len(records)} SPF records")
        try:
            return parse_record(records[0])
        except SpfSyntaxError as fault:
            raise _Error(Result.PERMERROR, f"{domain}: {fault}") from None

    def _matches(self, term: Term, domain: str) -> bool:
        match term.name:
            case "all":
                return True
            case "ip4" | "ip6":
                return self._is_in(term.value, term)
        self._count()
        target = self._expand(term.value, domain) if term.value else domain
        match term.name:
            case "include":
                return self._include(target)
            case "a":
                return self._has(target, term)
            case "mx":
                return self._mx(target, term)
            case "exists":
                return bool(self._rows(target, "A"))
            case _:
                return self._ptr(target)

    def _include(self, target: str) -> bool:
        result = self.host(target)
        if result is Result.NONE:
            raise _Error(Result.PERMERROR, f"include:{target}: there is no SPF record")
        return result is Result.PASS

    def _has(self, host: str, term: Term) -> bool:
        return any(self._is_in(row, term) for row in self._rows(host, self._type))

    def _mx(self, target: str, term: Term) -> bool:
        hosts = [row.split()[-1] for row in self._rows(target, "MX")]
        if len(hosts) > MAX_NAMES:
            raise _Error(Result.PERMERROR, f"mx: {target} has more than {MAX_NAMES} MX hosts")
        return any(self._has(host, term) for host in hosts if host != ".")

    def _ptr(self, target: str) -> bool:
        try:
            names = self._rows(self._address.reverse_pointer, "PTR")[:MAX_NAMES]
            for name in names:
                is_within = f".{name.lower()}".endswith(f".{target.lower().rstrip('.')}")
                if is_within and str(self._address) in self._rows(name, self._type):
                    return True
        except _Error as error:
            if error.result is not Result.TEMPERROR:
                raise
        return False  # If this look-up fails, the term does not match (5.5).

    def _is_in(self, network: str, term: Term) -> bool:
        length = term.ip4_length if self._address.version == 4 else term.ip6_length
        try:
            found = ipaddress.ip_network(f"{network}/{length}", strict=False)
        except ValueError:  # A prefix length for IPv6 may be too large for an IPv4 network.
            return False
        return self._address in found if found.version == self._address.version else False

    def _rows(self, name: str, kind: str, can_be_void: bool = True) -> tuple[str, ...]:
        answer = self._ask(name, kind)
        if isinstance(answer, Away):
            raise _Error(Result.TEMPERROR, f"{kind} of {name}: {answer.reason}")
        if can_be_void and not answer.rows:
            self.voids += 1
            if self.voids > MAX_VOID_LOOKUPS:
                reason = f"more than {MAX_VOID_LOOKUPS} look-ups find nothing, the last is {name}"
                raise _Error(Result.PERMERROR, reason)
        return answer.rows

    def _count(self) -> None:
        self.lookups += 1
        if self.lookups > MAX_LOOKUPS:
            raise _Error(Result.PERMERROR, f"it takes more than {MAX_LOOKUPS} look-ups")

    def _expand(self, text: str, domain: str) -> str:
        return expand(text, Macros(self._sender, domain, self._address))
