"""Look-ups for `sluice clients check`: turns dnspython's answers into the rows that are judged.

Owns: the choice of the server, and the time limit for all look-ups. Does not own: the meaning of an
answer (shared/mailauth/delegation.py). Guarantees: each question is asked once, and a look-up never
raises an exception. After SERVFAIL, a refusal or a time-out, a look-up returns Away. If the name or
its records do not exist, the look-up returns empty Rows.
"""

from __future__ import annotations

from typing import Any, Final

import dns.exception
import dns.name
import dns.nameserver
import dns.rdatatype
import dns.resolver

from shared.mailauth.spf.evaluation import Away, Rows
from shared.runtime.clock import Deadline
from shared.settings.addresses import DNS_PORT, parse_ip_address

_EACH_S: Final = 5.0  # The limit for one question, including all servers and retries.
# UDP answers of this size are not fragmented; longer answers use TCP.
_PAYLOAD_OCTETS: Final = 1232


class ResolverError(ValueError):
    """No DNS server is configured, or the address of the server is not valid; the text gives the
    reason."""


class DnsLookUps:
    """Asks one server, or the system's servers, with one deadline for all questions."""

    def __init__(self, server: str, deadline: Deadline) -> None:
        self._deadline = deadline
        self._known: dict[tuple[str, str], Rows | Away] = {}
        self._resolver = make_resolver(server)

    def __call__(self, name: str, kind: str) -> Rows | Away:
        """Return the rows of a name; the same question is asked only once."""
        question = (name.lower().rstrip("."), kind)
        if question not in self._known:
            self._known[question] = self._ask(*question)
        return self._known[question]

    def _ask(self, name: str, kind: str) -> Rows | Away:
        lifetime_s = self._deadline.at_most(_EACH_S)
        if not lifetime_s:
            return Away(f"{kind} of {name} was not looked up: the time limit (--timeout) is over")
        try:
            # The name is absolute, so that the machine's search list is not used.
            asked = dns.name.from_text(name, dns.name.root)
        except dns.exception.DNSException:
            return Rows((), exists=False)  # The name has an empty or too long label.
        try:
            answer = self._resolver.resolve(asked, kind, lifetime=lifetime_s, search=False)
        except dns.resolver.NXDOMAIN:
            return Rows((), exists=False)
        except dns.resolver.NoAnswer:
            return Rows()
        except (dns.exception.DNSException, OSError) as error:
            shown = " ".join(str(error).split())
            return Away(f"{kind} of {name}: {shown or type(error).__name__}")
        return Rows(tuple(sorted(_row(row, kind) for row in answer)))


def make_resolver(server: str) -> dns.resolver.Resolver:
    """Return a resolver that asks `server`, an IP address or IP:PORT; "" means the system's server.

    Raises ResolverError.
    """
    try:
        resolver = dns.resolver.Resolver(configure=not server)
    except dns.exception.DNSException as error:
        raise ResolverError(
            f"the system has no DNS server ({error}): give one with --resolver"
        ) from None
    resolver.use_edns(0, 0, _PAYLOAD_OCTETS)
    resolver.cache = None
    if server:
        try:
            address = parse_ip_address(server, DNS_PORT)
            resolver.nameservers = [dns.nameserver.Do53Nameserver(*address)]
        except ValueError:
            raise ResolverError(
                f"{server!r} is not ADDRESS or ADDRESS:PORT, such as 192.0.2.53:53"
            ) from None
    return resolver


def _row(row: Any, kind: str) -> str:
    match kind:
        case "TXT":
            return b"".join(row.strings).decode("utf-8", "backslashreplace")
        case "MX":
            host = row.exchange.to_text(omit_final_dot=True).lower()
            return f"{row.preference} {host}"
        case "PTR":
            return str(row.target.to_text(omit_final_dot=True).lower())
        case _:
            return str(row.to_text())
