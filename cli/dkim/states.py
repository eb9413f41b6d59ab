"""The state of each key of a table at a time. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

from msgspec import Struct

from shared.mailauth.dkim_keys.folder import PrivateKey
from shared.mailauth.dkim_keys.table import Key, KeyEntry, KeyIndex


class State(StrEnum):
    """The state of a key now."""

    SIGNS = "signs"
    WAITS = "waits"  # its time has not come
    REPLACED = "replaced"  # a newer one of its kind signs
    ENDED = "ended"


class KeyState(Struct, frozen=True):
    """A key and its state."""

    key: Key[PrivateKey]
    state: State

    @property
    def is_needed(self) -> bool:
        """Whether its record must be in the DNS: it signs, or will."""
        return self.state in {State.SIGNS, State.WAITS}


def states_of(keys: Sequence[Key[PrivateKey]], now_s: float) -> list[KeyState]:
    """The state of each key, in the order of the table."""
    index = KeyIndex(keys)
    return [KeyState(key, _state(key, index, now_s)) for key in keys]


def successor(entry: KeyEntry, keys: Sequence[Key[PrivateKey]]) -> KeyEntry | None:
    """The entry of the key that takes over from this one, which is one of `keys`; None without."""
    algorithm = next(key.algorithm for key in keys if key.entry == entry)
    later = [
        key.entry
        for key in keys
        if (key.entry.scope, key.algorithm) == (entry.scope, algorithm)
        and key.entry.starts_at_s > entry.starts_at_s
    ]
    return min(later, key=lambda each: each.starts_at_s, default=None)


def _state(key: Key[PrivateKey], index: KeyIndex[PrivateKey], now_s: float) -> State:
    entry = key.entry
    if now_s < entry.starts_at_s:
        return State.WAITS
    if not entry.is_active(now_s):
        return State.ENDED
    signing = index.choose(entry.client, entry.domain, now_s)
    return State.SIGNS if any(each is key for each in signing) else State.REPLACED
