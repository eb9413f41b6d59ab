"""Limits the number of returned messages that a client gets one by one; a digest lists all further
messages. Pure.

A window begins with the first message that is forwarded. Up to the limit, each message is forwarded
in its own mail. The other messages of the window are held, and a digest lists them when the window
has ended. The windows are written in the same transaction as the mail. So a window is not lost if a
process ends.

A client has one window for each partition of mail.returned that contains mail of this client.
Normally this is one partition, because the client's name is the key of the records.
"""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import Struct
from msgspec.structs import replace

MAX_LISTED: Final = 100
MAX_LINE_CHARS: Final = 200
MAX_KINDS: Final = 32
OTHER: Final = "other"
PREFIX: Final = "returns/"


class Policy(Struct, frozen=True):
    """The length of a window, and the number of messages that a client gets one by one in a
    window."""

    most: int
    length_ms: int


class Window(Struct, frozen=True, omit_defaults=True):
    """The present window of a client on one partition."""

    client: str
    partition: int
    begun_ms: int
    forwarded: int = 0
    held: dict[str, int] = {}  # the number of held messages of each kind
    listed: tuple[str, ...] = ()  # lines of the digest: the first MAX_LISTED held messages

    @property
    def key(self) -> bytes:
        """Return the key of the window's record."""
        return key_of(self.partition, self.client)


Windows = dict[bytes, Window]

_encoder: Final = msgspec.json.Encoder(order="deterministic")
_decoder: Final = msgspec.json.Decoder(Window)


def key_of(partition: int, client: str) -> bytes:
    """Return the key of a client's window on a partition."""
    return f"{PREFIX}{partition}/{client}".encode()


def encode_window(window: Window) -> bytes:
    """Return the value of a window's record."""
    return _encoder.encode(window)


def decode_window(key: bytes, value: bytes) -> Window:
    """Decode a record. Raises ValueError if the record is invalid or has the key of another
    window."""
    try:
        window = _decoder.decode(value)
    except RecursionError as error:  # raised by msgspec
        raise ValueError(str(error)) from None
    if window.key != key:
        raise ValueError(f"the key of a window of {window.client!r} was expected, found {key!r}")
    return window


def begin(client: str, partition: int, now_ms: int) -> Window:
    """Return a window that begins now."""
    return Window(client, partition, now_ms)


def has_ended(window: Window, policy: Policy, now_ms: int) -> bool:
    """Return whether the window has ended. The window also ends when the clock is set back."""
    return not 0 <= now_ms - window.begun_ms < policy.length_ms


def admit(window: Window, policy: Policy) -> Window | None:
    """Return the window after one more forwarded message; None if the message must be held."""
    if window.forwarded >= policy.most:
        return None
    return replace(window, forwarded=window.forwarded + 1)


def has_room(window: Window) -> bool:
    """Return whether the digest has room for one more line."""
    return len(window.listed) < MAX_LISTED


def hold(window: Window, kind: str, line: str) -> Window:
    """Return the window with one more held message, listed if the digest has room."""
    kind = kind if kind in window.held or len(window.held) < MAX_KINDS else OTHER
    held = {**window.held, kind: window.held.get(kind, 0) + 1}
    listed = (*window.listed, line[:MAX_LINE_CHARS]) if has_room(window) else window.listed
    return replace(window, held=held, listed=listed)
