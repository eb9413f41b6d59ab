"""Checks the quotas of sub-clients in clients.yaml. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from shared.registry.client import Code


def quota_faults(codes: Mapping[str, Code]) -> Iterator[tuple[str, str, str]]:
    """Each code whose quota differs from that of another code of its sub-client.

    Yields the code, what was found and what is expected. The quota is the sub-client's, whichever
    of its codes a message names.
    """
    first: dict[str, str] = {}
    for text, row in codes.items():
        if not row.monthly_quota:
            continue
        other = first.setdefault(row.sub_client, text)
        if (quota := codes[other].monthly_quota) != row.monthly_quota:
            expected = f"{quota}, as in {other}, which has the same sub_client, or none"
            yield text, str(row.monthly_quota), expected
