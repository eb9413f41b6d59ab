"""Decides which addresses may connect, and how often. This module does no I/O.

This module owns lists of addresses, the key by which an address is counted, the counts of failed
logins, and rates. It does not own open connections (connection_limiter.py), passwords and the
dialog (shared/smtp).
"""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

MAX_REMEMBERED: Final = 10_000
# Only the first characters of a name, up to this number, are used. No client has a longer name.
MAX_NAME_CHARS: Final = 80
# An IPv6 host can use all addresses of a network with this prefix length, so a limit per address
# would not limit a host.
_IPV6_HOST_BITS: Final = 64

_Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@lru_cache(4_096)
def _networks(ips: tuple[str, ...]) -> tuple[_Network, ...]:
    return tuple(ipaddress.ip_network(text, strict=False) for text in ips)


def plain_address(text: str) -> str:
    """Return the address in the form in which addresses are compared.

    This form has no zone, and an IPv4-mapped IPv6 address becomes an IPv4 address.
    """
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return text
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address)


def may_come_from(ips: Sequence[str], address: str) -> bool:
    """Return True if a client with this list of addresses and networks may submit mail from
    `address`.

    If the list is empty, every address is permitted.
    """
    return not ips or is_listed(ips, address)


def is_listed(ips: Sequence[str], address: str) -> bool:
    """Return True if `address` is in this list of addresses and networks."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    return any(found in network for network in _networks(tuple(ips)))


def counted_as(address: str) -> str:
    """Return the key by which an address is counted: an IPv4 address itself, or the /64 network of
    an IPv6 address."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address
    if found.version == 4:
        return address
    return str(ipaddress.ip_network((found, _IPV6_HOST_BITS), strict=False))


class FailedLogins:
    """Counts failed logins in a sliding window of time, by address and name, and by address alone.

    A host with a wrong password does not lock out other hosts with the same address, unless it
    tries many names. Only the first MAX_NAME_CHARS characters of a name are used. At most
    MAX_REMEMBERED keys of each kind are stored.
    """

    def __init__(self, most: int, most_of_address: int, window_s: float) -> None:
        self._by_name = _Window(most, window_s)
        self._by_address = _Window(most_of_address, window_s)

    def count(self, address: str, name: str, now: float) -> None:
        """Count a failed login from this address under this name."""
        self._by_name.count(_named(address, name), now)
        self._by_address.count(counted_as(address), now)

    def count_locked(self, address: str, now: float) -> None:
        """Count a login that was refused because the name is locked."""
        self._by_address.count(counted_as(address), now)

    def is_name_locked(self, address: str, name: str, now: float) -> bool:
        """Return True if logins from this address under this name have failed too often."""
        return self._by_name.is_full(_named(address, name), now)

    def is_address_locked(self, address: str, now: float) -> bool:
        """Return True if logins from this address have failed too often, no matter under which
        names."""
        return self._by_address.is_full(counted_as(address), now)


def _named(address: str, name: str) -> str:
    return f"{counted_as(address)} {name[:MAX_NAME_CHARS]}"


class _Window:
    def __init__(self, most: int, window_s: float) -> None:
        self._most = most
        self._window_s = window_s
        self._times: OrderedDict[str, list[float]] = OrderedDict()

    def count(self, key: str, now: float) -> None:
        times = [at for at in self._times.pop(key, ()) if at > now - self._window_s]
        self._times[key] = [*times[-self._most :], now]
        if len(self._times) > MAX_REMEMBERED:
            self._times.popitem(last=False)

    def is_full(self, key: str, now: float) -> bool:
        times = self._times.get(key, ())
        return sum(at > now - self._window_s for at in times) >= self._most


class Rate:
    """A rate limit per minute, for each key. Each key has a token bucket with the tokens of one
    minute.

    The MAX_REMEMBERED most recently used keys are stored. A key that is not stored has a full
    bucket.
    """

    def __init__(self) -> None:
        # The number of remaining tokens of each key, and the time at which this number was
        # computed.
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def is_spent(self, key: str, per_minute: int, now: float) -> bool:
        """Return True if one more event would exceed the rate. The call itself is not counted as an
        event. If `per_minute` is 0, there is no limit."""
        return bool(per_minute) and self._left(key, float(per_minute), now) < 1

    def try_take(self, key: str, per_minute: int, now: float) -> bool:
        """Count one more event. Return False if the event would exceed the rate. If `per_minute` is
        0, there is no limit.

        `per_minute` may differ from the previous call. The new value applies at once.
        """
        if not per_minute:
            self._buckets.pop(key, None)
            return True
        left = self._left(key, float(per_minute), now)
        self._buckets.pop(key, None)
        is_within = left >= 1
        self._buckets[key] = (left - 1 if is_within else left, now)
        if len(self._buckets) > MAX_REMEMBERED:
            self._buckets.popitem(last=False)
        return is_within

    def _left(self, key: str, most: float, now: float) -> float:
        left, since = self._buckets.get(key, (most, now))
        return min(most, left + (now - since) * most / 60)
