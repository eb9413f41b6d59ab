"""The records of mail.control that request the SMTP dialogs of the deliver service, and the lines
of these dialogs.

This module owns the records, their keys and their bytes, and the form of a line. It does not own
the selection of lines (services/deliver/core/tracing) and their storage (shared/store/traces.py).
Fields may only be added, and only with a default.

The key of a trace consists of PREFIX and the id of the trace, and the key of an order never begins
with PREFIX. So a trace does not replace an order for the same domain, and several operators may use
traces at the same time. A trace ends at its expiry, which is at most MAX_TRACE_MS after its
beginning. It ends earlier if its record is deleted.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec
from msgspec import Struct

from shared.topics import ids
from shared.topics.codec import CodecError

PREFIX: Final = b"trace/"
# The highest number of traces at a time, for all operators together. The command refuses further
# traces, and the deliver service ignores them.
MAX_TRACES: Final = 8
MAX_TRACE_MS: Final = 10 * 60_000
# A process must show dialogs at once, even if its clock is behind the clock of the operator's
# machine.
CLOCK_SKEW_MS: Final = 60_000
MAX_MS: Final = 1 << 53
_ID: Final = re.compile(r"[0-9a-z]{8,32}")


class Trace(Struct, frozen=True, omit_defaults=True):
    """A request to show the dialogs of one recipient domain, or of one message."""

    trace_id: str
    domain: str = ""
    mail_id: str = ""
    author: str = ""
    reason: str = ""
    at_ms: int = 0
    expires_at_ms: int = 0

    def is_in_force(self, now_ms: int) -> bool:
        """Return True if the deliver service shows the dialogs of this trace now."""
        return self.at_ms - CLOCK_SKEW_MS <= now_ms < self.expires_at_ms


class TraceLine(Struct, frozen=True, omit_defaults=True):
    """One line of a dialog, with the data of its connection.

    `kind` is `>` for a sent line, `<` for a received line, and `*` for a note of the deliver
    service. It is "" if there is only a number and no text.
    """

    worker: str
    number: int
    at_ms: int
    kind: str = ""
    text: str = ""
    dialog: int = 0  # The number of the dialog in the process.
    mail_id: str = ""
    source: str = ""  # our address
    server: str = ""
    tls: str = ""
    skipped: int = 0  # The number of dialogs that the process has not shown so far.


_encoder: Final = msgspec.json.Encoder(order="deterministic")
_decoder: Final = msgspec.json.Decoder(Trace)


def is_trace(key: bytes | None) -> bool:
    """Return True if a record of mail.control with this key is a trace."""
    return key is not None and key.startswith(PREFIX)


def key_of(trace: Trace) -> bytes:
    """Return the key of a trace."""
    return PREFIX + trace.trace_id.encode()


def encode_trace(trace: Trace) -> tuple[bytes, bytes]:
    """Return the key and the value of the record."""
    return key_of(trace), _encoder.encode(trace)


def decode_trace(key: bytes | None, value: bytes) -> Trace:
    """Decode a record. Raises CodecError."""
    try:
        trace = _decoder.decode(value)
    except (ValueError, RecursionError) as error:  # raised by msgspec
        raise CodecError(f"trace: {error}") from None
    if _ID.fullmatch(trace.trace_id) is None or key != key_of(trace):
        raise CodecError(f"trace: the key {key!r} is not that of {trace.trace_id[:40]!r}")
    if bool(trace.domain) == bool(trace.mail_id):
        raise CodecError("trace: expected a domain or a mail id, and not both")
    if trace.mail_id:
        try:
            ids.to_bytes(trace.mail_id)
        except ValueError as error:
            raise CodecError(f"trace: {error}") from None
    if not 0 <= trace.at_ms < trace.expires_at_ms < MAX_MS:
        raise CodecError(f"trace: from {trace.at_ms} until {trace.expires_at_ms} is no period")
    if trace.expires_at_ms - trace.at_ms > MAX_TRACE_MS:
        raise CodecError(f"trace: it lasts longer than {MAX_TRACE_MS // 60_000} minutes")
    return trace
