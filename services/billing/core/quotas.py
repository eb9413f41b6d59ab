"""Monthly quotas: their records, the form in which they are shown, and the time between two reads
of the counts. This module does no I/O.

The use of a quota is the number of messages that were accepted for sending in the month: received
minus refused, suppressed and cancelled. For each quota and month, at most one event is published
per threshold, even if the counts or the quota change afterwards. For this purpose, the state of a
quota has the thresholds whose events were published, and the state and the events are written in
one transaction.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final

from msgspec import Struct, structs

from services.billing.core.cells import RECEIVED, Cell
from shared.registry.client import Client, Limit, OverQuota, all_limits, scopes_of
from shared.topics.quotas import THRESHOLDS, QuotaBeat, QuotaEvent, QuotaScope, QuotaState
from shared.topics.records import EventType

_SIGNS: Final = {
    RECEIVED: 1,
    EventType.REFUSED.value: -1,
    EventType.SUPPRESSED.value: -1,
    EventType.CANCELLED.value: -1,
}
# The use of a quota is computed from these counters.
COUNTED: Final = tuple(_SIGNS)
# Maps a client and a sub-client to the number of their accepted messages.
Accepted = Mapping[tuple[str, str], int]


class Present(Struct, frozen=True):
    """The month and the time of the counts. `is_complete` is True if the counts include everything
    that was committed at that time."""

    month: str
    begins_ms: int
    ends_ms: int
    now_ms: int
    is_complete: bool


class Plan(Struct, frozen=True):
    """The records to write. If the state of a quota is None, the record of this quota is
    removed."""

    states: dict[QuotaScope, QuotaState | None]
    events: list[QuotaEvent]
    beat: QuotaBeat | None


class ShownQuota(Struct, frozen=True):
    """A quota and its use. `percent` is rounded down. `month` is "" if nothing is counted in this
    month yet. `sub_client` is None if the quota is for the whole client."""

    client: str
    sub_client: str | None
    month: str
    quota: int
    used: int
    percent: int
    reached: tuple[int, ...]
    over_quota: OverQuota
    is_used_up: bool


def used_of(accepted: Accepted, limits: Mapping[QuotaScope, Limit]) -> dict[QuotaScope, int]:
    """Return, for each quota, the number of messages that use the quota."""
    found = dict.fromkeys(limits, 0)
    for (client, sub_client), number in accepted.items():
        for scope in scopes_of(client, sub_client):
            if scope in found:
                found[scope] += number
    return {scope: max(0, number) for scope, number in found.items()}


def add_accepted(into: dict[tuple[str, str], int], cells: Iterable[tuple[Cell, int]]) -> None:
    """Add cells, or changes of cells, to the numbers of accepted messages in `into`."""
    for cell, number in cells:
        sign = _SIGNS.get(cell.counter, 0)
        if sign and not cell.detail:
            key = cell.client, cell.sub_client
            into[key] = into.get(key, 0) + sign * number


def plan(
    known: Mapping[QuotaScope, QuotaState],
    beat: QuotaBeat | None,
    limits: Mapping[QuotaScope, Limit],
    used: Mapping[QuotaScope, int],
    present: Present,
) -> Plan:
    """Compare the present use of each quota with the last written state of the quota. Return the
    records to write.

    The plan is empty if the present month is before the month of the last beat. In this case, the
    clock of this process is slow.
    """
    if beat is not None and beat.month > present.month:
        return Plan({}, [], None)
    states: dict[QuotaScope, QuotaState | None] = {
        scope: None
        for scope, state in known.items()
        if scope not in limits and state.month < present.month
    }
    events: list[QuotaEvent] = []
    for scope, limit in limits.items():
        last = known.get(scope)
        if last is not None and last.month != present.month:
            last = None
        state, crossed = _state_of(last, limit, used[scope], present)
        if state != last:
            states[scope] = state
        events += _events(scope, limit, state, crossed, present)
    return Plan(states, events, _beat_of(beat, present))


def _state_of(
    last: QuotaState | None, limit: Limit, used: int, present: Present
) -> tuple[QuotaState, tuple[int, ...]]:
    before = last.reached if last else ()
    # The counts are too low until all cells are restored. Until they are restored, the shown use
    # never falls.
    number = used if present.is_complete or last is None else max(used, last.used)
    crossed = tuple(
        each for each in THRESHOLDS if number * 100 >= each * limit.quota and each not in before
    )
    reached = tuple(sorted({*before, *crossed}))
    state = QuotaState(
        present.month, present.begins_ms, present.ends_ms, limit.quota, number, reached
    )
    return state, crossed


def _events(
    scope: QuotaScope,
    limit: Limit,
    state: QuotaState,
    crossed: tuple[int, ...],
    present: Present,
) -> Iterator[QuotaEvent]:
    for threshold in crossed:
        yield QuotaEvent(
            client=scope.client,
            sub_client=scope.sub_client,
            month=present.month,
            threshold=threshold,
            quota=limit.quota,
            used=state.used,
            over_quota=limit.over_quota.value,
            at_ms=present.now_ms,
        )


def _beat_of(last: QuotaBeat | None, present: Present) -> QuotaBeat | None:
    """Return the beat to write. Return None if it would equal the last beat."""
    before = last.counted_to_ms if last else 0
    counted_to_ms = max(before, present.now_ms if present.is_complete else 0)
    month = present.month, present.begins_ms, present.ends_ms
    found = QuotaBeat(*month, counted_to_ms, present.now_ms)
    return None if found == last else found


def uncounted(beat: QuotaBeat | None, month: str, now_ms: int) -> Plan:
    """Return the records to write if nothing was counted. These records show that the writer still
    works.

    The plan is empty if no beat was ever written, or if the clock of this process is slow (see
    plan()). If the clock is slow, another process writes the records instead.
    """
    if beat is None or beat.month > month:
        return Plan({}, [], None)
    return Plan({}, [], structs.replace(beat, at_ms=now_ms))


def shown_quotas(
    clients: Iterable[Client],
    state_of: Callable[[QuotaScope], QuotaState | None],
    now_ms: int,
) -> list[ShownQuota]:
    """Return the quotas of these clients, sorted by client. The quota of a whole client comes
    before the quotas of its sub-clients."""
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


class Pace:
    """Computes the time to wait before the next read, so that reads take only a limited share of
    the time.

    If the caller waits for wait_s() before each read, all reads in a time t take at most `burst_s`
    + `share` x t, plus the time of the last read. No wait is longer than `most_s`, because one very
    long read must not delay the next reads for hours. A read takes very long, for example, if the
    process is paused meanwhile. So a read begins at least every `most_s`, even if each read takes
    longer than `share` x `most_s`.
    """

    def __init__(self, share: float, burst_s: float, most_s: float) -> None:
        self._share = share
        self._burst_s = burst_s
        self._most_debt_s = burst_s + share * most_s
        self._debt_s = 0.0
        self._at = 0.0

    def took(self, seconds: float, now: float) -> None:
        """Record a read that has ended now and took this many seconds."""
        self._debt_s = min(self._debt(now) + seconds, self._most_debt_s)
        self._at = now

    def wait_s(self, now: float) -> float:
        """Return the number of seconds to wait before the next read."""
        return max(0.0, (self._debt(now) - self._burst_s) / self._share)

    def _debt(self, now: float) -> float:
        return max(0.0, self._debt_s - self._share * max(0.0, now - self._at))
