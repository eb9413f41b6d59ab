"""Finds the traces that concern a message. Pure.

Owns: which traces count. Does not own: where they come from (edge/control/follower.py), how much of
each is shown (channel.py). Without traces `is_any` is false, and nothing else is asked.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from shared.topics.traces import MAX_TRACES, Trace


class Traces:
    """The traces in force, indexed. Immutable: a change makes new ones."""

    __slots__ = ("_all", "_by_domain", "_by_mail_id", "is_any")

    def __init__(self, traces: Iterable[Trace] = (), now_ms: int = 0) -> None:
        """Leave out traces that have ended at `now_ms`, and the newest beyond MAX_TRACES."""
        alive = (trace for trace in traces if now_ms < trace.expires_at_ms)
        self._all = tuple(sorted(alive, key=lambda each: (each.at_ms, each.trace_id)))[:MAX_TRACES]
        self._by_domain: dict[str, tuple[Trace, ...]] = {}
        self._by_mail_id: dict[str, tuple[Trace, ...]] = {}
        for trace in self._all:
            index, key = (
                (self._by_domain, trace.domain.lower())
                if trace.domain
                else (self._by_mail_id, trace.mail_id)
            )
            index[key] = (*index.get(key, ()), trace)
        self.is_any = bool(self._all)

    def in_force(self, now_ms: int) -> list[Trace]:
        """Return the traces that are in force."""
        return [trace for trace in self._all if trace.is_in_force(now_ms)]

    def find(self, mail_id: str, recipient: str, now_ms: int) -> list[Trace]:
        """Return the traces in force that concern this message."""
        domain = recipient.rpartition("@")[2].lower()
        found = (*self._by_domain.get(domain, ()), *self._by_mail_id.get(mail_id, ()))
        return [trace for trace in found if trace.is_in_force(now_ms)]


NO_TRACES: Final = Traces()
