"""Computes the shares of bounces, complaints and policy blocks of a client at a provider. Pure.

    share        part                of
    bounces      bounced             delivered and bounced
    complaints   complaints          delivered
    policy       policy replies      delivered, bounced and policy replies

Counts are kept in slots of 15 minutes for 48 hours, so the length of a window is exact to 15
minutes. A suspension clears the counts that led to it. After that, only results after the start of
the suspension are counted, and the client must reach the minimum number of messages again.

The thresholds are in the following tables. A value in a later table replaces the same value in an
earlier table: `[ratios]`, `[ratios.provider.NAME]`; `[ratios.class.NAME]`,
`[ratios.class.NAME.provider.NAME]` for the mail class of the client; `[ratios.client.NAME]`,
`[ratios.client.NAME.provider.NAME]`.

Owns: the changes of counts, and the choice of the thresholds for a client. Does not own: the states
of all clients and the orders (book.py).
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Any, Final

from msgspec import Struct
from msgspec.structs import replace

from services.deliver.core.reputation.facts import Result
from services.deliver.core.shaping.limits import (
    LONGEST_WINDOW_S,
    Ratio,
    parse_duration,
    parse_ratio,
)
from services.deliver.core.shaping.rules import Rules, Setting, Value
from shared.topics.reputation import SLOT_MS, ClientState, Slot

OFF: Final = "off"
DEFAULT_SUSPEND_S: Final = 6 * 3_600
LONGEST_SUSPEND_S: Final = 31 * 86_400
_KEPT_SLOTS: Final = LONGEST_WINDOW_S * 1000 // SLOT_MS


class Kind(StrEnum):
    """The kinds of shares of a client at a provider."""

    BOUNCES = "bounces"
    COMPLAINTS = "complaints"
    POLICY = "policy"


class Thresholds(Struct, frozen=True):
    """The thresholds of a client at a provider, and how long a suspension lasts."""

    ratios: dict[Kind, Ratio]
    origins: dict[Kind, str]
    suspend_s: int


class Share(Struct, frozen=True):
    """A share (`part` divided by `whole`, both in messages), and the threshold for this share."""

    kind: Kind
    part: int
    whole: int
    ratio: Ratio

    @property
    def is_exceeded(self) -> bool:
        """Return whether the share is above its threshold, so that the client is suspended."""
        return self.whole >= self.ratio.least and self.part > self.ratio.share * self.whole

    def __str__(self) -> str:
        share = self.part / self.whole if self.whole else 0.0
        return f"{self.kind}: {self.part} of {self.whole} ({share:.2%}), over {self.ratio}"


def thresholds_of(rules: Rules, client: str, mail_class: str, provider: str) -> Thresholds:
    """Return the thresholds for this client at this provider."""
    found: dict[str, Setting] = {}
    for base in ("ratios", f"ratios.class.{mail_class}", f"ratios.client.{client}"):
        found.update(rules.table(base))
        found.update(rules.table(f"{base}.provider.{provider}"))
    kept = {
        kind: setting
        for kind in Kind
        if (setting := found.get(kind)) is not None and isinstance(setting.value, Ratio)
    }
    suspend = found.get("suspend")
    suspend_s = suspend.value if suspend and isinstance(suspend.value, int) else DEFAULT_SUSPEND_S
    ratios = {kind: each.value for kind, each in kept.items() if isinstance(each.value, Ratio)}
    return Thresholds(ratios, {kind: each.origin for kind, each in kept.items()}, suspend_s)


def counted(state: ClientState, result: Result, at_ms: int, count: int = 1) -> ClientState:
    """Return the state after `count` more results. Results from before a suspension are ignored."""
    if at_ms <= state.suspended_ms:
        return state
    number = at_ms // SLOT_MS
    by_number = {slot.number: slot for slot in state.slots}
    before = by_number.get(number, Slot(number))
    by_number[number] = replace(before, **{result.value: getattr(before, result.value) + count})
    newest = max(by_number)
    kept = (by_number[each] for each in sorted(by_number) if each >= newest - _KEPT_SLOTS)
    return replace(state, slots=tuple(kept))


def shares(state: ClientState, thresholds: Thresholds, now_ms: int) -> list[Share]:
    """Return all shares that have a threshold."""
    return [_share(state, kind, ratio, now_ms) for kind, ratio in thresholds.ratios.items()]


def is_empty(state: ClientState, now_ms: int) -> bool:
    """Return True if no count is left in the window."""
    newest = max((slot.number for slot in state.slots), default=0)
    oldest = now_ms // SLOT_MS - _KEPT_SLOTS
    return newest < oldest and state.suspended_ms // SLOT_MS < oldest


def suspended(state: ClientState, at_ms: int) -> ClientState:
    """Return the state after a suspension: the counts are cleared."""
    return replace(state, slots=(), suspended_ms=at_ms)


def _share(state: ClientState, kind: Kind, ratio: Ratio, now_ms: int) -> Share:
    first = (now_ms - ratio.window_s * 1000) // SLOT_MS
    inside = [slot for slot in state.slots if slot.number >= first]
    delivered = sum(slot.delivered for slot in inside)
    bounced = sum(slot.bounced for slot in inside)
    blocked = sum(slot.blocked for slot in inside)
    match kind:
        case Kind.BOUNCES:
            return Share(kind, bounced, delivered + bounced, ratio)
        case Kind.COMPLAINTS:
            return Share(kind, sum(slot.complained for slot in inside), delivered, ratio)
        case Kind.POLICY:
            return Share(kind, blocked, delivered + bounced + blocked, ratio)


def _read_ratio(value: Any) -> Value:
    if value == OFF:
        return False
    return parse_ratio(value if isinstance(value, str) else "")


def _read_suspend(value: Any) -> int:
    found = parse_duration(str(value))
    if found > LONGEST_SUSPEND_S:
        raise ValueError("expected at most 31d")
    return found


READERS: Final[dict[str, Callable[[Any], Value]]] = {
    **dict.fromkeys((each.value for each in Kind), _read_ratio),
    "suspend": _read_suspend,
}
