"""The quotas that a client's registration names. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from msgspec import Struct

from shared.registry.client import Client, OverQuota
from shared.topics.quotas import QuotaScope


class Limit(Struct, frozen=True):
    """A monthly quota, and what happens to mail over it."""

    quota: int
    over_quota: OverQuota


def limits_of(client: Client) -> dict[QuotaScope, Limit]:
    """The quotas of a client and of its sub-clients."""
    found = {
        QuotaScope(client.name, sub_client): Limit(quota, client.over_quota)
        for sub_client, quota in client.sub_client_quotas.items()
    }
    if client.monthly_quota:
        found[QuotaScope(client.name)] = Limit(client.monthly_quota, client.over_quota)
    return found


def all_limits(clients: Iterable[Client]) -> dict[QuotaScope, Limit]:
    """The quotas of all clients."""
    return {scope: limit for client in clients for scope, limit in limits_of(client).items()}


def scopes_of(client: str, sub_client: str) -> Iterator[QuotaScope]:
    """The quotas that a message of this client and sub-client uses."""
    yield QuotaScope(client)
    yield QuotaScope(client, sub_client)
