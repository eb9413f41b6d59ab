"""The findings of the ledger checker in a run: faults by kind, and the sums."""

from __future__ import annotations

from collections import defaultdict
from enum import StrEnum
from typing import Final

from msgspec import Struct

# A run with a broken pipeline has thousands of similar faults; a few of each kind are enough.
SHOWN_PER_KIND: Final = 5


class Kind(StrEnum):
    """The kinds of faults; each value is a sentence that a reader can act on."""

    LOST = "promised, but no final event"
    UNDELIVERED = "final event delivered, but the sink never accepted it"
    DENIED = "the sink accepted it, but the final event says otherwise"
    DOUBLED_FINAL = "more than one final event"
    TWO_MAIL_IDS = "one record became two mails"
    UNPROMISED_EVENT = "a final event nobody was promised"
    UNPROMISED_COPY = "the sink saw a message nobody was promised"
    WRONG_FATE = "ended otherwise than its recipient or header decides"
    SENT_THOUGH_REFUSED = "refused or suppressed, but the sink saw it"
    TOO_MANY_COPIES = "more second copies than were in flight"
    DOUBLED_DISPATCH = "more than one event says first_dispatch"
    BILL = "billed is not dispatched"
    DISPATCH_EVENTS = "events with first_dispatch are not what the sink answered"
    CONSERVATION = "received is not the sum of the final events"
    WRONG_CELL = "an event counts for another client, mailing ID or sub-client"


class Fault(Struct, frozen=True):
    """One difference: its kind, the message or cell, and the two values that differ."""

    kind: Kind
    key: str
    detail: str = ""


class Counts(Struct, frozen=True):
    """The sums of a run, for its report."""

    promised: int
    finals: dict[str, int]
    accepted: int
    second_copies: int
    dispatched: int
    billed: int


class Findings(Struct, frozen=True):
    """All faults, and the sums."""

    faults: tuple[Fault, ...]
    counts: Counts

    @property
    def clean(self) -> bool:
        """Return whether no fault was found."""
        return not self.faults

    def kinds(self) -> frozenset[Kind]:
        """Return the kinds of faults found."""
        return frozenset(fault.kind for fault in self.faults)

    def explain(self) -> str:
        """Return the sums, then the number and a few examples of each kind."""
        lines = [str(self.counts)]
        by_kind: dict[Kind, list[Fault]] = defaultdict(list)
        for fault in self.faults:
            by_kind[fault.kind].append(fault)
        for kind, faults in by_kind.items():
            lines.append(f"{kind.name} x{len(faults)}: {kind.value}")
            lines += [f"    {fault.key}: {fault.detail}" for fault in faults[:SHOWN_PER_KIND]]
        return "\n".join(lines)
