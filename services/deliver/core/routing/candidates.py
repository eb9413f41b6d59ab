"""Decides in which order the addresses of a site are tried, based on earlier failures. Pure.

Owns: the candidates for one new connection, and the record of the addresses that work. Does not
own: connecting (edge/pool/site_hosts.py), the rules for allowed addresses (addresses.py). Times are
seconds of one monotonic clock.

The order follows RFC 5321, 5.1: exchangers with the lowest preference number come first, and
exchangers of equal preference are in random order. An address that has failed is tried after all
other addresses, even if its preference is better. So an exchanger that is down costs one time-out
per RETRY_S and not one per connection. A failed address is never left out: if no other address
works, it is tried as well.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Sequence
from enum import StrEnum
from itertools import chain, zip_longest
from typing import Final

from msgspec import Struct

from services.deliver.core.routing.sites import Host

# For this time an address that failed is tried after all other addresses. After this time, one new
# connection tries the address in its old place. Other connections try the address there only after
# that connection has succeeded.
RETRY_S: Final = 300.0
# An address that pushed back (it answered 421, or dropped a connection after EHLO) is tried after
# all other addresses for this time. RETRY_S does not apply, because the address works but accepts
# no more connections now.
PUSH_BACK_RETRY_S: Final = 60.0
# If a site has several failed addresses, at most one of them is tried in its old place within this
# time.
PROBE_GAP_S: Final = 60.0
# The most sites that are remembered, and the most addresses per site. The least recently used
# entries are forgotten first.
MAX_SITES: Final = 10_000
MAX_REMEMBERED: Final = 400

Shuffle = Callable[[list[Host] | list[str]], None]


class Failure(StrEnum):
    """A failure at an address."""

    UNREACHABLE = "unreachable"  # The address refused, was unreachable or timed out.
    SLOW = "slow"  # Another address of the host was faster.
    REFUSED = "refused"  # The greeting or EHLO was refused or did not come.
    PUSHED_BACK = "pushed back"  # 421 at any step, or a drop after EHLO.


class Candidate(Struct, frozen=True):
    """One address of one host."""

    host: Host
    ip: str

    @property
    def is_ipv6(self) -> bool:
        return ":" in self.ip

    @property
    def key(self) -> tuple[str, int]:
        """Return the key for the failures of this address.

        The key contains no host name, because hosts may share an address.
        """
        return self.ip, self.host.port

    def __str__(self) -> str:
        """Return the name of this candidate for texts, in the form that Postfix uses."""
        name = self.host.name if self.host.name == self.ip else f"{self.host.name}[{self.ip}]"
        return f"{name}:{self.host.port}"


def arrange(hosts: Sequence[tuple[Host, Sequence[str]]], shuffle: Shuffle) -> list[Candidate]:
    """Return all candidates in the order of the RFCs.

    The candidates are sorted by rank, and the hosts of one rank are shuffled. The addresses of each
    host are shuffled, too; IPv6 and IPv4 addresses alternate (RFC 8305, 4).
    """
    addresses = dict(hosts)
    # Hosts may share an address; a shared address is tried once.
    found: dict[tuple[str, int], Candidate] = {}
    for rank in sorted({host.rank for host in addresses}):
        equal = [host for host in addresses if host.rank == rank]
        shuffle(equal)
        for host in equal:
            for ip in _alternate(addresses[host], shuffle):
                candidate = Candidate(host, ip)
                found.setdefault(candidate.key, candidate)
    return list(found.values())


def _alternate(ips: Sequence[str], shuffle: Shuffle) -> list[str]:
    mixed = list(ips)
    shuffle(mixed)
    six = [ip for ip in mixed if ":" in ip]
    four = [ip for ip in mixed if ":" not in ip]
    return [ip for ip in chain(*zip_longest(six, four)) if ip is not None]


class _Record(Struct):
    failure: Failure | None = None  # None if the address has not failed, or has worked again
    failed_at: float = -math.inf
    worked_at: float = -math.inf
    due_at: float = -math.inf  # The time at which the address is tried in its old place.
    is_probed: bool = False  # True if the old place was tried after the failure.

    def hold(self, now: float) -> None:
        is_push_back = self.failure is Failure.PUSHED_BACK
        self.due_at = now + (PUSH_BACK_RETRY_S if is_push_back else RETRY_S)


class AddressHistory:
    """The failures at the addresses of one site."""

    def __init__(self) -> None:
        self._records: OrderedDict[tuple[str, int], _Record] = OrderedDict()
        self._probed_at = -math.inf

    def failed(self, candidate: Candidate, failure: Failure, now: float) -> None:
        """Record a failure at an address."""
        record = self._record(candidate)
        record.failed_at, record.failure, record.is_probed = now, failure, False
        record.hold(now)

    def worked(self, candidate: Candidate, now: float) -> None:
        """Record that a connection was opened to an address."""
        record = self._record(candidate)
        # A host that pushed back may still accept a connection, so a new connection alone does not
        # show that the host has recovered.
        if record.failure is not Failure.PUSHED_BACK or record.is_probed:
            record.failure = None
        record.worked_at = now

    def _record(self, candidate: Candidate) -> _Record:
        record = self._records.setdefault(candidate.key, _Record())
        self._records.move_to_end(candidate.key)
        if len(self._records) > MAX_REMEMBERED:
            self._records.popitem(last=False)
        return record

    def has_failed(self, candidate: Candidate) -> bool:
        """Return whether the last known attempt at an address failed."""
        record = self._records.get(candidate.key)
        return record is not None and record.failure is not None

    def take_next(self, left: list[Candidate], now: float) -> list[Candidate]:
        """Remove the next candidates from `left`, which arrange() has ordered, and return them.

        If the host has IPv6 and IPv4 addresses, two addresses are returned in the order in which
        they are tried; otherwise one address is returned. A failed address that is due again is
        marked, so that other connections do not try the same address.
        """
        first = self._first(left, now)
        if self.has_failed(first) and self._records[first.key].due_at <= now:
            self._records[first.key].is_probed = True
            self._records[first.key].hold(now)
            self._probed_at = now
        left.remove(first)
        second = next((other for other in left if self._are_partners(first, other)), None)
        if second is None:
            return [first]
        left.remove(second)
        return [first, second]

    def _first(self, left: list[Candidate], now: float) -> Candidate:
        may_probe = now >= self._probed_at + PROBE_GAP_S
        for candidate in left:
            if not self.has_failed(candidate):
                return candidate
            if may_probe and self._records[candidate.key].due_at <= now:
                return candidate
        return min(left, key=self._last_resort)

    def _last_resort(self, candidate: Candidate) -> tuple[bool, float]:
        """Return a sort key for failed addresses: addresses that have ever worked come first."""
        record = self._records[candidate.key]
        return record.worked_at == -math.inf, record.failed_at

    def _are_partners(self, first: Candidate, other: Candidate) -> bool:
        is_pair = first.host == other.host and first.is_ipv6 != other.is_ipv6
        return is_pair and not self.has_failed(other)


class Histories:
    """The histories of the MAX_SITES sites that were used last."""

    def __init__(self) -> None:
        self._by_site: OrderedDict[str, AddressHistory] = OrderedDict()

    def of(self, site: str) -> AddressHistory:
        """Return the history of a site. The pool of the site always uses the same object."""
        history = self._by_site.setdefault(site, AddressHistory())
        self._by_site.move_to_end(site)
        if len(self._by_site) > MAX_SITES:
            self._by_site.popitem(last=False)
        return history
