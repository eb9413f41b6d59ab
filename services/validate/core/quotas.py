"""Decides which messages a monthly quota lets pass. Pure.

The use of a quota is a sum: the count of the billing service, plus the messages that this process
let pass and that the billing service may not have counted yet. The beat of the billing service
states the time up to which every message is counted. Messages that passed during the last SLACK_MS
before that time are added as well, because clocks differ and a transaction takes time. So near the
quota some messages may be counted twice, and mail may be held too early. Such mail passes when the
next beat arrives.

The excess over a quota is bounded. Let R be the number of messages left in the quota at the last
count that was read. After that count, each process lets at most R messages pass. So N processes
send at most (N - 1) x R messages more than the quota. A restarted process counts as a further
process. A process that was paused for longer than SLACK_MS within a transaction adds at most one
batch. While the billing service counts, the last count is only a few seconds old. While the billing
service is down, no mail is held before the quota is used up, and the bound still holds.

If the billing service has never counted, there is no beat. In this case the month is not known, and
no mail is held.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, Protocol

from msgspec.structs import replace

from services.validate.core.batch import Judged, Mailing
from services.validate.core.verdict import Held, Passed, Refused
from shared.registry.client import Client, Limit, OverQuota, limits_of, scopes_of
from shared.submission.attribution import refused_event
from shared.topics.quotas import QuotaBeat, QuotaScope, QuotaState
from shared.topics.records import Envelope, Message, Violation

# The clocks of hosts differ by less than this time, and a transaction takes less than this time. If
# a process was paused for longer, the bound in the module docstring still holds.
SLACK_MS: Final = 10_000
# Passed messages are summed per second. If there are more sums than this number, the two oldest
# sums are joined.
MAX_SECONDS: Final = 600
_UNKNOWN: Final = 1 << 62
OVER_QUOTA: Final = "quota"
_STATUS: Final = "5.7.1"


class KnowsQuotas(Protocol):
    """Knows the counts of the billing service; in production this is QuotaView."""

    def ready(self) -> bool:
        """Return whether the topic of the quotas was read to its end at least once."""
        ...

    def state(self, scope: QuotaScope, /) -> QuotaState | None:
        """Return how much of this quota is used."""
        ...

    def beat(self) -> QuotaBeat | None:
        """Return the beat: the month, and the time up to which every message is counted."""
        ...


class QuotaUse:
    """The use of each quota, as far as this process knows it. Thread-safe."""

    def __init__(self, known: KnowsQuotas) -> None:
        self._known = known
        self._lock = threading.Lock()
        self._passed: dict[QuotaScope, deque[tuple[int, int]]] = {}  # at_ms, number

    def is_known(self, clients: Iterable[Client | None]) -> bool:
        """Return whether the quotas of these clients can be enforced now."""
        return self._known.ready() or not any(map(enforces, clients))

    def left(self, scope: QuotaScope, limit: Limit, now_ms: int) -> int:
        """Return how many more messages this quota lets pass."""
        beat = self._known.beat()
        if beat is None:
            return _UNKNOWN
        state = self._known.state(scope)
        counted = state.used_at(now_ms) if state else 0
        with self._lock:
            return limit.quota - counted - self._own(scope, _since(beat, now_ms))

    def add(self, passed: Mapping[Mailing, int], now_ms: int) -> None:
        """Add the messages that passed, by mailing."""
        for (client, _, sub_client), number in passed.items():
            for scope in scopes_of(client, sub_client):
                with self._lock:
                    self._add(scope, number, now_ms)

    def _add(self, scope: QuotaScope, number: int, now_ms: int) -> None:
        found = self._passed.setdefault(scope, deque())
        if found and found[-1][0] // 1000 == now_ms // 1000:
            number += found.pop()[1]
        found.append((now_ms, number))
        if len(found) > MAX_SECONDS:
            # The joined sum gets the later time. So its messages may be added for longer than
            # necessary, but never for a shorter time.
            first, second = found.popleft(), found.popleft()
            found.appendleft((second[0], first[1] + second[1]))

    def _own(self, scope: QuotaScope, since_ms: int) -> int:
        found = self._passed.get(scope)
        if not found:
            return 0
        while found and found[0][0] <= since_ms:
            found.popleft()
        if not found:
            del self._passed[scope]
        return sum(number for _, number in found)


def _since(beat: QuotaBeat, now_ms: int) -> int:
    """Return the time from which passed messages are added to the count. Messages that passed
    earlier were counted by the billing service, or they belong to another month."""
    begins_ms = beat.ends_ms if now_ms >= beat.ends_ms else beat.begins_ms
    return max(beat.counted_to_ms - SLACK_MS, begins_ms - 1)


def enforces(client: Client | None) -> bool:
    """Return whether mail of this client may be held or refused because of a quota.

    Quotas of a removed client are not enforced, because nobody can raise them and the billing
    service does not count their use.
    """
    return (
        client is not None
        and client.removal is None
        and client.over_quota is not OverQuota.WARN
        and bool(client.monthly_quota or client.sub_client_quotas)
    )


def enforce(
    judged: Sequence[Judged],
    client_of: Callable[[str], Client | None],
    use: QuotaUse,
    now_ms: int,
) -> list[Judged]:
    """Check the messages in order; hold or refuse each message that is over a quota."""
    left: dict[QuotaScope, int] = {}
    found = []
    for one in judged:
        verdict = one.verdict
        if isinstance(verdict, Passed):
            client = client_of(verdict.envelope.client)
            if client is not None and enforces(client):
                verdict = _enforced(verdict, one.message.envelope, client, left, use, now_ms)
        found.append(replace(one, verdict=verdict))
    return found


def _enforced(
    verdict: Passed,
    submitted: Envelope,
    client: Client,
    left: dict[QuotaScope, int],
    use: QuotaUse,
    now_ms: int,
) -> Passed | Held | Refused:
    limits = limits_of(client)
    scopes = [
        scope for scope in scopes_of(client.name, verdict.envelope.sub_client) if scope in limits
    ]
    for scope in scopes:
        if scope not in left:
            left[scope] = use.left(scope, limits[scope], now_ms)
    over = next((scope for scope in scopes if left[scope] <= 0), None)
    if over is None:
        for scope in scopes:
            left[scope] -= 1
        return verdict
    reason = f"The monthly quota of {over.described()}, {limits[over].quota} messages, is used up"
    if client.over_quota is OverQuota.REFUSE:
        broken = Violation(OVER_QUOTA, reason, _STATUS)
        return Refused(refused_event(verdict.envelope, (broken,), now_ms))
    return Held(verdict.envelope, reason)


def released(message: Message, now_ms: int) -> Message:
    """Return a held message in the form in which it is judged again. The time limit for its
    delivery begins now."""
    envelope = message.envelope
    later = replace(envelope, due_at_ms=max(envelope.due_at_ms, now_ms))
    return Message(later, message.content)


def used_up(
    clients: Iterable[Client], use: QuotaUse, now_ms: int
) -> frozenset[tuple[QuotaScope, int]]:
    """Return the used-up quotas whose mail is held, each with its limit."""
    return frozenset(
        (scope, limit.quota)
        for client in clients
        if client.over_quota is OverQuota.HOLD
        for scope, limit in limits_of(client).items()
        if use.left(scope, limit, now_ms) <= 0
    )
