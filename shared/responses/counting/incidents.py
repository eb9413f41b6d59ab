"""Recognises an incident at a provider: many hard bounces with one status in a short time.

If a provider answers every message with 550 for an hour, the sender must not lose its recipients.
While an incident is open, hard bounces with its provider and status are held. A held bounce is not
counted until an operator has reviewed the bounce (batch.py). This module does no I/O. An incident
opens when both conditions are met within the policy's window:

- At least `least` hard bounces with this status arrived.
- These bounces are more than `percent` percent of all outcomes of the provider.

An incident ends when these conditions have not been met for the length of a window. Bounces that
were counted before the incident opened remain counted, but a review can exclude these bounces, too.

Incidents depend only on the records and their order, not on the clock or on batches, so counting
the log again finds the same incidents. The memory is bounded: at most MAX_PROVIDERS providers,
MAX_STATUSES statuses per provider, and MAX_PAST ended incidents are kept. The least recently seen
provider is dropped first.
"""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import Struct

BUCKETS: Final = 10
MAX_PROVIDERS: Final = 256
MAX_STATUSES: Final = 16
MAX_PAST: Final = 100
OTHER: Final = "other"


class IncidentPolicy(Struct, frozen=True):
    """The conditions under which an incident opens. If `least` is 0, no incident opens."""

    least: int = 0
    percent: int = 50
    window_ms: int = 600_000


class Incident(Struct, frozen=True, array_like=True):
    """One incident. `held` is the number of held bounces.

    The conditions for the incident were met at `opened_ms` for the first time, and at `last_ms` for
    the last time.
    """

    provider: str
    status: str
    opened_ms: int
    last_ms: int
    held: int = 0


class _Bucket(Struct, array_like=True):
    number: int
    outcomes: int = 0
    hard: dict[str, int] = {}


class _Provider(Struct, array_like=True):
    buckets: list[_Bucket] = []
    outcomes: int = 0  # `outcomes` and `hard` are the sums of the buckets.
    hard: dict[str, int] = {}
    open: dict[str, Incident] = {}


class Incidents(Struct, array_like=True):
    """The incidents and recent outcomes up to one place in the log. note() updates them."""

    at_ms: int = 0
    providers: dict[str, _Provider] = {}
    past: list[Incident] = []
    policy: IncidentPolicy = IncidentPolicy()  # The policy that was used to find the incidents.

    def note(self, provider: str, status: str, at_ms: int, policy: IncidentPolicy) -> bool:
        """Record an outcome of a provider. Return True if the outcome is a held bounce.

        `status` is the status of a hard bounce, or "" for any other outcome.
        """
        if not policy.least:
            return False
        self.at_ms, self.policy = max(self.at_ms, at_ms), policy
        known = self._of(provider, self.at_ms * BUCKETS // policy.window_ms)
        bucket = known.buckets[-1]
        bucket.outcomes += 1
        known.outcomes += 1
        if not status:
            return False
        status = status if status in known.hard or len(known.hard) < MAX_STATUSES else OTHER
        bucket.hard[status] = bucket.hard.get(status, 0) + 1
        known.hard[status] = known.hard.get(status, 0) + 1
        return self._judge(known, provider, status, policy)

    def open_ones(self) -> list[Incident]:
        """Return the incidents that are open at the time of the last record."""
        return [
            each
            for known in self.providers.values()
            for each in known.open.values()
            if self.at_ms - each.last_ms <= self.policy.window_ms
        ]

    def all_ones(self) -> list[Incident]:
        """Return the open incidents and the ended incidents that are kept, in order of opening."""
        found = [each for known in self.providers.values() for each in known.open.values()]
        return sorted([*self.past, *found], key=lambda each: (each.opened_ms, each.provider))

    def _judge(self, known: _Provider, provider: str, status: str, policy: IncidentPolicy) -> bool:
        number = known.hard[status]
        is_over = number >= policy.least and number * 100 > policy.percent * known.outcomes
        found = known.open.get(status)
        if found is not None and self.at_ms - found.last_ms > policy.window_ms:
            self._end(known.open.pop(status))
            found = None
        if found is None:
            if not is_over:
                return False
            found = Incident(provider, status, self.at_ms, self.at_ms)
        last_ms = self.at_ms if is_over else found.last_ms
        known.open[status] = Incident(provider, status, found.opened_ms, last_ms, found.held + 1)
        return True

    def _of(self, provider: str, number: int) -> _Provider:
        """Return the counts of a provider, with bucket `number` as the last bucket."""
        known = self.providers.get(provider)
        if known is not None and known.buckets[-1].number == number:
            return known
        if known is None:
            known = _Provider([], 0, {}, {})
            self._make_room()
        else:
            del self.providers[provider]
        self.providers[provider] = known
        known.buckets.append(_Bucket(number, 0, {}))
        while known.buckets[0].number <= number - BUCKETS:
            _forget(known, known.buckets.pop(0))
        return known

    def _make_room(self) -> None:
        while len(self.providers) >= MAX_PROVIDERS:
            forgotten = self.providers.pop(next(iter(self.providers)))
            for each in forgotten.open.values():
                self._end(each)

    def _end(self, incident: Incident) -> None:
        self.past.append(incident)
        del self.past[:-MAX_PAST]


def _forget(known: _Provider, bucket: _Bucket) -> None:
    known.outcomes -= bucket.outcomes
    for status, number in bucket.hard.items():
        known.hard[status] -= number
        if not known.hard[status]:
            del known.hard[status]


_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final = msgspec.msgpack.Decoder(Incidents)


def encode_incidents(incidents: Incidents) -> bytes:
    """Return the bytes of the incidents. Return b"" if no provider is known."""
    return _encoder.encode(incidents) if incidents.providers else b""


def decode_incidents(value: bytes | None) -> Incidents:
    """Return the incidents of these bytes as a new object. Raises msgspec.DecodeError."""
    return _decoder.decode(value) if value else Incidents(0, {}, [])
