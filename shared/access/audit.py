"""The audit log of access keys: who made and revoked which, and which uses were denied. Pure.

Records go to mail.access-log, which keeps them for 400 days. A denied use is summed up before it
is written, so that a peer who tries keys without end writes a bounded number of records.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

import msgspec
from msgspec import Struct

from shared.access.checking import Denial

# Different (reason, key, peer) of one interval; further ones are summed up per reason.
MAX_ENTRIES: Final = 100
MAX_PEER_CHARS: Final = 64


class Action(StrEnum):
    """What happened."""

    CREATED = "created"
    REVOKED = "revoked"
    DENIED = "denied"


class AuditEntry(Struct, frozen=True, omit_defaults=True):
    """One line of the audit log. Fields are only ever added, with a default."""

    action: Action
    at_ms: int
    key: str = ""
    by: str = ""  # who made or revoked it; the service, for a denied use
    name: str = ""
    scope: str = ""
    rights: tuple[str, ...] = ()
    expires_at_ms: int = 0
    reason: str = ""  # of a denied use
    peer: str = ""
    count: int = 1  # denied uses that this line stands for


_decoder: Final = msgspec.json.Decoder(AuditEntry)


def encode_entry(entry: AuditEntry) -> bytes:
    """The value of its record."""
    return msgspec.json.encode(entry)


def decode_entry(value: bytes) -> AuditEntry:
    """Raises msgspec.MsgspecError."""
    return _decoder.decode(value)


class DenialSums:
    """Sums up denied uses of one interval. For one thread."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, str, str], int] = {}

    def add(self, denial: Denial, peer: str) -> None:
        """Count one denied use."""
        entry = (denial.reason.value, denial.key, peer[:MAX_PEER_CHARS])
        if entry not in self._counts and len(self._counts) >= MAX_ENTRIES:
            entry = (denial.reason.value, "", "")
        self._counts[entry] = self._counts.get(entry, 0) + 1

    def take(self, at_ms: int, by: str) -> list[AuditEntry]:
        """The lines since the last call."""
        counts, self._counts = self._counts, {}
        return [
            AuditEntry(Action.DENIED, at_ms, key, by=by, reason=reason, peer=peer, count=number)
            for (reason, key, peer), number in counts.items()
        ]
