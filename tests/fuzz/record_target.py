"""Properties of every record of an intake, whatever it contains.

Nothing is raised; reading a record twice, or with its headers in another order, gives the same
result; accepted values are within their bounds; a refused record keeps its bytes.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Final

from services.ingest.core.intake.kafka_record import Header, read
from shared.topics.intake_fields import CODE, ID, MAX_AHEAD_DAYS, SENDER
from tests.fuzz.talk_grammar import HEAD_BYTES, NO_VALUE, PART

NOW_MS: Final = 1_772_445_600_000
_LAST_MS: Final = NOW_MS + 2 * MAX_AHEAD_DAYS * 86_400_000


def check_record(data: bytes) -> Hashable:
    """Read one record."""
    value, *rest = data[HEAD_BYTES:].split(PART)
    headers: list[Header] = [
        (name.decode("utf-8", "replace"), None if octets == NO_VALUE else octets)
        for name, octets in zip(rest[::2], rest[1::2], strict=False)
    ]
    reading = read(value, headers, NOW_MS)
    assert read(value, headers, NOW_MS) == reading
    turned = read(value, headers[::-1], NOW_MS)
    assert bool(turned.faults) == bool(reading.faults)
    if reading.faults:
        assert reading.content == value
        for fault in reading.faults:
            assert fault.reason
            assert len(fault.found) <= 800
            (fault.reason + fault.found).encode()
        return tuple(sorted({fault.reason[:40] for fault in reading.faults}))
    assert turned == reading
    given = reading.given
    assert len(given.code.encode()) <= CODE.max_octets
    assert len(given.sender.encode()) <= SENDER.max_octets
    assert len(given.submission_key.encode()) <= ID.max_octets
    assert 0 <= given.not_before_ms <= _LAST_MS
    assert 0 <= given.expires_at_ms <= _LAST_MS
    return bool(given.code), bool(given.sender), bool(given.not_before_ms), reading.content == value
