"""A view in which no recipient is suppressed, and entries for tests."""

from __future__ import annotations

from shared.topics.suppressions import FIELD_BYTES, Suppression, SuppressionReason


class NobodySuppressed:
    def find(self, fields: bytes) -> bytes:
        return bytes(len(fields) // FIELD_BYTES)


def entry(
    recipient: str,
    reason: SuppressionReason = SuppressionReason.MANUAL,
    *,
    client: str = "shop",
    active: bool = True,
) -> Suppression:
    return Suppression(client, reason, recipient, active=active, at_ms=1_700_000_000_000)
