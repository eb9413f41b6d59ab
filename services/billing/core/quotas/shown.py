"""The quotas as the API and the command line show them. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from msgspec import Struct

from shared.registry.client import Client, OverQuota, all_limits
from shared.topics.quotas import QuotaScope, QuotaState


class ShownQuota(Struct, frozen=True):
    """A quota and its use. `percent`: rounded down. `month`: "" if nothing is counted
    yet. `sub_client`: None for the quota of the whole client."""

    client: str
    sub_client: str | None
    month: str
    quota: int
    used: int
    percent: int
    reached: tuple[int, ...]
    over_quota: OverQuota
    is_used_up: bool


def shown_quotas(
    clients: Iterable[Client],
    state_of: Callable[[QuotaScope], QuotaState | None],
    now_ms: int,
) -> list[ShownQuota]:
    """The quotas of these clients, by client; the client's own before those of its sub-clients."""
    found = []
    limits = all_limits(clients)
    for scope in sorted(limits, key=lambda scope: (scope.client, scope.sub_client or "")):
        limit, state = limits[scope], state_of(scope)
        is_present = state is not None and state.begins_ms <= now_ms < state.ends_ms
        used = state.used if state is not None and is_present else 0
        found.append(
            ShownQuota(
                client=scope.client,
                sub_client=scope.sub_client,
                month=state.month if state is not None and is_present else "",
                quota=limit.quota,
                used=used,
                percent=used * 100 // limit.quota,
                reached=state.reached if state is not None and is_present else (),
                over_quota=limit.over_quota,
                is_used_up=used >= limit.quota,
            )
        )
    return found
