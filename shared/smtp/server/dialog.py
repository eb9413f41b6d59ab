"""Handles the input, the events, the output and the end of a server's session.

This module owns the options of a session, both buffers, the event that waits for its answer, the
limits for errors and idle commands, and the end of the session. The bytes are interpreted in
session.py. In addition to the content of a message, at most MAX_UNREAD_BYTES are in memory. Nothing
is read after the end of the session.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from shared.smtp.buffer import Buffer
from shared.smtp.events import Ended, ServerEvent
from shared.smtp.extensions import Extensions
from shared.smtp.reply import Outgoing, Reply
from shared.smtp.server import refusals, states
from shared.smtp.server.auth import judge_mechanisms, no_nonce
from shared.smtp.server.refusals import AbuseLimits
from shared.smtp.server.states import MUTE, State

# This is enough for a few reads while an event waits for its answer.
MAX_UNREAD_BYTES: Final = 1_048_576


class ServerOptions(Struct, frozen=True):
    """The options of a session. For the limits of text lines and of idle commands, 0 means no
    limit.

    `max_errors` limits the refused commands since the last accepted message. `max_idle_commands`
    limits NOOP, RSET, EHLO and similar commands since the last message.

    If `counts_refusals` is True, a recipient that the policy refuses with 5yz is also counted as an
    error.

    `auth_mechanisms` (keys of auth.MECHANISMS) are offered only over TLS. SCRAM needs `nonce`, a
    function that returns a printable nonce. `is_secure` is True if TLS began before the greeting.
    """

    host: str
    extensions: Extensions = Extensions(
        pipelining=True,
        size=True,
        eight_bit_mime=True,
        smtputf8=True,
        enhanced_status_codes=True,
    )
    max_content_bytes: int = 307_200
    max_recipients: int = 100
    max_errors: int = 20
    max_idle_commands: int = 100
    max_text_line_bytes: int = 0
    refuse_bare_line_ends: bool = True
    refuse_nul: bool = True
    counts_refusals: bool = False
    auth_mechanisms: tuple[str, ...] = ()
    requires_auth: bool = False
    is_secure: bool = False
    nonce: Callable[[], str] = no_nonce

    def __post_init__(self) -> None:
        judge_mechanisms(self.auth_mechanisms, self.nonce)

    def offered(self, is_secure: bool) -> Extensions:
        """Return the extensions for EHLO. STARTTLS is offered only without TLS, and AUTH only over
        TLS."""
        return replace(
            self.extensions,
            size_limit_bytes=self.max_content_bytes,
            starttls=self.extensions.starttls and not is_secure,
            auth=self.auth_mechanisms if is_secure else (),
        )


class Dialog:
    """The part of a server's session that does not depend on the commands."""

    __slots__ = (
        "_buffer",
        "_ended",
        "_limits",
        "_options",
        "_output",
        "_pending",
        "_state",
        "refused",
    )

    def __init__(self, options: ServerOptions) -> None:
        self._options = options
        self._buffer = Buffer()
        self._output = Outgoing()
        self._state = State.BANNER
        self._pending: ServerEvent | None = None
        self._ended: Ended | None = None
        self._limits = AbuseLimits(options.max_errors, options.max_idle_commands)
        self.refused = 0  # The number of refused commands and login responses so far.

    @property
    def state(self) -> State:
        """Return the state of the session."""
        return self._state

    @property
    def wants_data(self) -> bool:
        """Return True if more data should be read. If False, the edge pauses the transport."""
        return self._pending is None and self._state not in MUTE

    @property
    def unread_bytes(self) -> int:
        """Return the number of unprocessed bytes of commands or of the arriving message."""
        return len(self._buffer)

    def take_output(self) -> bytes:
        """Take the bytes to write now. Return b"" if there are none."""
        return self._output.take()

    def receive(self, data: bytes) -> None:
        """Add received data."""
        if self._state is states.CLOSED:
            return
        if self._buffer.add(data) <= MAX_UNREAD_BYTES:
            return
        if self._pending is not None or self._state is not states.CONTENT:
            self._pending = None
            self._end(refusals.TOO_MUCH, "it sent too much ahead of replies")

    def next_event(self) -> ServerEvent | None:
        """Return the next event. Return None if an event waits for its answer, or if more bytes are
        needed."""
        if self._pending is not None:
            return None
        while self._ended is None and self._read():
            if self._pending is not None:
                return self._pending
        ended, self._ended = self._ended, None
        return ended

    def _read(self) -> bool:
        """Process one line or the content of a message. Return False if neither is complete yet."""
        raise NotImplementedError

    def _put(self, reply: Reply) -> None:
        self._output.put(reply)

    def _end(self, reply: Reply, reason: str) -> None:
        self._put(reply)
        self._buffer.clear()
        self._state = states.CLOSED
        self._ended = Ended(reason)

    def _refuse(self, reply: Reply) -> None:
        self.refused += 1
        if reply.code in (421, 521):
            self._end(reply, reply.text)
        elif self._limits.count_error():
            self._put(reply)
        else:
            self._end(refusals.TOO_MANY_ERRORS, "too many errors")
