"""Stores a view of suppressed recipients (mail.suppressions up to an offset) in one Redis hash.

Owns: the view. Does not own: following the topic, and the rule that decides how recent a view must
be (both in the validate service). The view and its watermark are in one key, so FLUSHALL, an
eviction or a failover never separates them. After one of these events, the view is missing, older
or correct. The view takes about 70 bytes per recipient.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import redis
from msgspec import Struct

from shared.store.client import store_errors
from shared.store.script import Script
from shared.topics.suppressions import Suppression, bit_of, field_of

NO_WATERMARK: Final = -1
_OTHER_LOG: Final = -2
_NONE: Final = 64


class ViewApplied(Struct, frozen=True):
    """The records were applied."""


class ViewStale(Struct, frozen=True):
    """Nothing was applied, because the view has another watermark (-1: there is no view)."""

    watermark: int


class ViewOfOtherLog(Struct, frozen=True):
    """Nothing was applied, because the view belongs to another topic of the same name."""

    log: str


class ViewState(Struct, frozen=True):
    """The view's topic, and the offset up to which it is applied ("" and -1 without a view)."""

    log: str
    watermark: int


def encode_entry(entry: Suppression) -> bytes:
    """Encode a record for apply()."""
    change = b"+" if entry.active else b"-"
    field = field_of(entry.client, entry.recipient, entry.form)
    return field + bytes((_NONE + bit_of(entry.reason),)) + change


class SuppressionStore:
    """The view on one client, which must not decode responses. May raise StoreUnavailable."""

    def __init__(self, client: redis.Redis, key: str) -> None:
        self._client = client
        self._key = key
        self._apply = Script(client, "apply_suppressions")
        self._find = Script(client, "find_suppressions")

    def apply(
        self, log: str, expected: int, target: int, entries: Iterable[bytes] = ()
    ) -> ViewApplied | ViewStale | ViewOfOtherLog:
        """Apply entries (encode_entry) and move the watermark from `expected` to `target`."""
        code, found = self._apply.run([self._key], [log, expected, target, b"".join(entries)])
        if code == _OTHER_LOG:
            return ViewOfOtherLog(found.decode())
        return ViewApplied() if code == 1 else ViewStale(int(found))

    def find(self, log: str, least: int, fields: bytes) -> bytes | None:
        """Return the bits of each field, one byte each, or None if the view is older than `least`.

        `fields` contains the fields one after the other, FIELD_BYTES each.
        """
        watermark, answers = self._find.run([self._key], [log, least, fields])
        if watermark < max(least, 0):
            return None
        return answers.translate(_TO_BITS) if answers else b""

    def state(self) -> ViewState:
        """Return the topic and the watermark of the view."""
        with store_errors():
            found: list[Any] = self._client.hmget(self._key, ["log", "watermark"])
        log, watermark = found
        if log is None or watermark is None:
            return ViewState("", NO_WATERMARK)
        return ViewState(bytes(log).decode(), int(watermark))

    def drop(self) -> None:
        """Delete the view. The validate service then waits until the view is restored."""
        with store_errors():
            self._client.unlink(self._key)


_TO_BITS: Final = bytes(max(each - _NONE, 0) & 63 for each in range(256))
