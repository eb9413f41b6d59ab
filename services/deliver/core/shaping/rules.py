"""The shaping rules: limits in layers per destination and sender, with their origins. Pure.

The layers are `[default]`, `[provider.NAME]`, `[site."HOST"]` and `[domain."NAME"]`, in this order.
Within each layer, the operator's files come after the shipped files. A value in a later layer
replaces the same value in an earlier layer. A limit of messages or bytes, however, belongs to the
layer that sets it. The limit of a provider applies to all its sites together. The limit of
`[default]` applies to each site without a known provider. The limits of `[site]`, `[domain]`,
`[client.NAME]`, `[client.NAME.provider.NAME]` and `[mailing."CLIENT/MAILING"]` apply in addition.
The limits of `[source.NAME]` apply in addition, too, at each provider or site separately. At a
provider, the limits of `[source.NAME.provider.NAME]` replace those of `[source.NAME]`.

Owns: the choice of the values that apply to a destination and a sender. Does not own: reading the
files (parsing.py), the used part of a limit (allowance.py), suspensions (suspensions.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from msgspec import Struct

from services.deliver.core.shaping.keys import Destination, Party
from services.deliver.core.shaping.limits import Limit, Ratio
from services.deliver.core.shaping.replies import ReplyRules, ShapingReply

Value = int | float | tuple[str, ...] | tuple[Limit, ...] | tuple[int, ...] | Ratio
DEFAULT: Final = "default"
RATES: Final = ("messages", "bytes")
# The keys of values for pools and retries. For each key, the last layer that sets a value wins.
POOL: Final = (
    "connections",
    "messages_per_connection",
    "connections_per_s",
    "idle_timeout",
    "slow_rate",
    "retry",
)


class Setting(Struct, frozen=True):
    """One value, and the file and table that it comes from."""

    value: Value
    origin: str


# The settings of one table, by key.
Table = Mapping[str, Setting]


class Provider(Struct, frozen=True):
    """A mailbox provider: its MX suffixes, and the domains that belong to it with any MX."""

    name: str
    mx: tuple[str, ...] = ()
    domains: tuple[str, ...] = ()


class KeyLimit(Struct, frozen=True):
    """A limit, the key under which it is counted, and its origin."""

    key: str
    limit: Limit
    origin: str


class Rules:
    """All rules of an installation. `tables` has the tables by name, such as `provider.google`."""

    def __init__(
        self,
        tables: Mapping[str, Table],
        providers: Iterable[Provider],
        replies: Iterable[ShapingReply],
        version: str = "",
    ) -> None:
        """`version` is a short hash of the files of the rules."""
        self.version = version
        self._tables = tables
        self.replies = ReplyRules(replies)
        self._by_suffix: dict[str, str] = {}
        self._by_domain: dict[str, str] = {}
        for provider in providers:
            self._by_suffix.update(dict.fromkeys(provider.mx, provider.name))
            self._by_domain.update(dict.fromkeys(provider.domains, provider.name))

    def table(self, name: str) -> Table:
        """Return the settings of one table, such as `source.mx2`; {} if there is no such table."""
        return self._tables.get(name, {})

    def tables(self, prefix: str) -> list[str]:
        """Return the names of all tables with this prefix."""
        return [name for name in self._tables if name.startswith(prefix)]

    def providers(self) -> list[str]:
        """Return the names of all providers that a domain or its MX hosts can have."""
        return sorted({*self._by_suffix.values(), *self._by_domain.values()})

    def provider_of(self, domain: str, hosts: Iterable[str]) -> str:
        """Return the provider of the domain or of all these MX hosts; "" if there is none."""
        if domain in self._by_domain:
            return self._by_domain[domain]
        found = {self._of_host(host.lower().rstrip(".")) for host in hosts}
        return found.pop() if len(found) == 1 else ""

    def _of_host(self, host: str) -> str:
        labels = host.split(".")
        for first in range(len(labels)):
            name = self._by_suffix.get(".".join(labels[first:]))
            if name:
                return name
        return ""

    def settings(self, to: Destination) -> dict[str, Setting]:
        """Return the values for the connections to this destination and for its retries."""
        found: dict[str, Setting] = {}
        for name in self._layers(to):
            table = self._tables.get(name, {})
            found.update({key: table[key] for key in POOL if key in table})
        return found

    def limits(self, to: Destination, sender: Party) -> list[KeyLimit]:
        """Return all limits of messages and bytes for mail of this sender to this destination."""
        return [*self.destination_limits(to), *self._sender_limits(to, sender)]

    def destination_limits(self, to: Destination) -> list[KeyLimit]:
        """Return the limits of the destination, which are the same for all senders."""
        base = f"provider.{to.provider}" if to.provider else DEFAULT
        # The limits of `[default]` are made for the internet and do not apply to an operator's own
        # relay.
        found = [] if to.is_override and not to.provider else self._of(base, to.key)
        site, domain = f"site.{to.site}", f"domain.{to.domain}"
        return found + self._of(site, f"site:{to.site}") + self._of(domain, f"domain:{to.domain}")

    def _sender_limits(self, to: Destination, sender: Party) -> list[KeyLimit]:
        client, mailing = sender.client, f"{sender.client}/{sender.mailing_id}"
        found = self._of(f"client.{client}", f"client:{client}")
        found += self._of(f"mailing.{mailing}", f"mailing:{mailing}")
        if to.provider:
            table = f"client.{client}.provider.{to.provider}"
            found += self._of(table, f"client:{client}@{to.key}")
        return found + self._source_limits(to, sender)

    def _source_limits(self, to: Destination, sender: Party) -> list[KeyLimit]:
        """Return the limits of a source, counted per provider, or per site without a provider."""
        if not sender.source or (to.is_override and not to.provider):
            return []
        table = f"source.{sender.source}"
        own = f"{table}.provider.{to.provider}"
        name = own if to.provider and self.table(own).keys() & set(RATES) else table
        return self._of(name, f"source:{sender.source}@{to.key}")

    def _of(self, table: str, key: str) -> list[KeyLimit]:
        found = []
        for name in RATES:
            setting = self._tables.get(table, {}).get(name)
            if setting is None or not isinstance(setting.value, tuple):
                continue
            for limit in setting.value:
                assert isinstance(limit, Limit)
                found.append(KeyLimit(key, limit, setting.origin))
        return found

    def _layers(self, to: Destination) -> list[str]:
        provider = [f"provider.{to.provider}"] if to.provider else []
        base = [] if to.is_override else [DEFAULT]
        return [*base, *provider, f"site.{to.site}", f"domain.{to.domain}"]
