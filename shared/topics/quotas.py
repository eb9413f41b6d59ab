"""The records of billing.quotas, and the events about quotas that are nearly or completely used up.

The topic is compacted and has one partition, and only the billing service writes to it. The key of
a record is a client, or a client and a sub-client. The value has the use of the quota in this
month, and the thresholds whose events are already published. The record with the key BEAT is a
beat. It contains the month, the time at which the beat was written, and `counted_to_ms`. All events
that were committed before `counted_to_ms` are counted in the records before the beat. New fields
may be added if they have a default, and no field may be removed.
"""

from __future__ import annotations

from typing import Annotated, Final

import msgspec
from msgspec import Meta, Struct

from shared.topics.codec import CodecError, Headers, event_headers

PARTITION: Final = 0
BEAT: Final = b"beat"
# An event is published at each of these percentages of a quota.
THRESHOLDS: Final = (80, 90, 100)
QUOTA_PREFIX: Final = "sluice.quota."
WARNING_TYPE: Final = "sluice.quota.warning"
USED_UP_TYPE: Final = "sluice.quota.used_up"


class QuotaScope(Struct, frozen=True, order=True):
    """The owner of a quota: a client, or one of its sub-clients."""

    client: str
    sub_client: str | None = None

    def described(self) -> str:
        """Return the scope as text for people."""
        return self.client if self.sub_client is None else f"{self.client}/{self.sub_client}"


class QuotaState(Struct, frozen=True, omit_defaults=True):
    """The use of a quota in a month. `reached` has the thresholds whose events were published."""

    month: str  # YYYY-MM, in the time zone of the billing service
    begins_ms: int
    ends_ms: int
    quota: int
    used: int
    reached: tuple[int, ...] = ()

    def used_at(self, now_ms: int) -> int:
        """Return the use in the month of `now_ms`. Return 0 if this state is about another
        month."""
        return self.used if self.begins_ms <= now_ms < self.ends_ms else 0


class QuotaBeat(Struct, frozen=True):
    """A record that shows that the billing service works.

    All events that were committed before `counted_to_ms` are counted in the states before this
    record.

    `at_ms` is the time at which the beat was written. Beats are written even if there are no new
    events.
    """

    month: str
    begins_ms: int
    ends_ms: int
    counted_to_ms: int
    at_ms: int = 0


class QuotaEvent(Struct, frozen=True, omit_defaults=True):
    """The data of a `sluice.quota.*` event: a threshold was reached for the first time."""

    client: Annotated[str, Meta(description="The client's name")]
    sub_client: Annotated[
        str | None, Meta(description="The sub-client; missing if the quota is the client's")
    ] = None
    month: Annotated[str, Meta(description="YYYY-MM, in the time zone of billing")] = ""
    threshold: Annotated[int, Meta(description="Percent of the quota: 80, 90 or 100")] = 0
    quota: Annotated[int, Meta(description="The monthly quota when the threshold was reached")] = 0
    used: Annotated[
        int, Meta(description="The used part of the quota when the threshold was reached")
    ] = 0
    over_quota: Annotated[
        str, Meta(description="What happens to mail over the quota: warn, hold or refuse")
    ] = ""
    at_ms: Annotated[int, Meta(description="When billing counted this, in Unix milliseconds")] = 0


_encoder: Final = msgspec.json.Encoder()
_key: Final = msgspec.json.Decoder(tuple[str, str | None])
_state: Final = msgspec.json.Decoder(QuotaState)
_beat: Final = msgspec.json.Decoder(QuotaBeat)
_UNREADABLE: Final = (ValueError, RecursionError)


def encode_scope(scope: QuotaScope) -> bytes:
    """Return the key of the record for this quota."""
    return _encoder.encode((scope.client, scope.sub_client))


def encode_state(state: QuotaState) -> bytes:
    """Return the value of the record for a quota."""
    return _encoder.encode(state)


def encode_beat(beat: QuotaBeat) -> bytes:
    """Return the value of the record with the key BEAT."""
    return _encoder.encode(beat)


def decode_scope(key: bytes) -> QuotaScope:
    """Decode the key of a record. Raises CodecError."""
    try:
        return QuotaScope(*_key.decode(key))
    except _UNREADABLE as error:
        raise CodecError(f"key of a quota: {error}") from None


def decode_state(value: bytes) -> QuotaState:
    """Decode the value of the record for a quota. Raises CodecError."""
    try:
        return _state.decode(value)
    except _UNREADABLE as error:
        raise CodecError(f"quota: {error}") from None


def decode_beat(value: bytes) -> QuotaBeat:
    """Decode the value of the record with the key BEAT. Raises CodecError."""
    try:
        return _beat.decode(value)
    except _UNREADABLE as error:
        raise CodecError(f"beat of the quotas: {error}") from None


def encode_quota_event(event: QuotaEvent) -> tuple[bytes, bytes, Headers]:
    """Return the key, value and headers of the record of mail.events for this event."""
    # The id is always the same for one quota, month and threshold, so readers can drop a repeated
    # event.
    scope = QuotaScope(event.client, event.sub_client).described()
    name = f"quota/{event.month}/{event.threshold}/{scope}".encode()
    kind = USED_UP_TYPE if event.threshold >= max(THRESHOLDS) else WARNING_TYPE
    headers = event_headers(name, kind.encode(), b"/sluice/billing", event.at_ms)
    return name, _encoder.encode(event), headers
