"""What a reader of all events looks at in a record of mail.events, before it decodes it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

TYPE_HEADER: Final = "ce_type"


class EventRecord(Protocol):
    """The parts of a Kafka record that are used."""

    @property
    def headers(self) -> Sequence[tuple[str, bytes]]:
        """The headers."""
        ...

    @property
    def key(self) -> bytes | None:
        """The mail id."""
        ...

    @property
    def value(self) -> bytes | None:
        """The value."""
        ...


def type_of(headers: Sequence[tuple[str, bytes]]) -> bytes:
    """The type of the event; b"" without one."""
    # encode_event writes the type as the third header; other producers may write it anywhere.
    if len(headers) > 2 and headers[2][0] == TYPE_HEADER:
        return headers[2][1]
    return next((value for name, value in headers if name == TYPE_HEADER), b"")
