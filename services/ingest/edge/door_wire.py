"""The bytes of one front door connection, between its transport and its session.

Owns: the transport, what has come and is not carried out yet, the rule that a peer which does
not read its replies is not read from, STARTTLS. Does not own: events and answers, time limits
(door_connection.py).

Memory for one peer, whatever it does: MAX_UNSENT_BYTES of replies and those to one more slice
of commands; one read of the transport; what the session holds.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from typing import Final

from shared.smtp.reply import Reply, encode_reply
from shared.smtp.server import refusals
from shared.smtp.server.session import ServerSession
from shared.smtp.server.states import CONTENT, TLS

# Replies that wait to be sent; above it nothing more is read.
MAX_UNSENT_BYTES: Final = 65_536
# Commands are carried out so many bytes at a time: a few bytes of them can ask for long replies.
SLICE_BYTES: Final = 8_192


class DoorWire:
    """A transport and the session on it."""

    def __init__(self, session: ServerSession, run: Callable[[], None]) -> None:
        """`run` carries out what the session has received, and writes."""
        self._session = session
        self._run = run
        self._transport: asyncio.Transport | None = None
        self._unfed = bytearray()
        self._is_choked = False
        self._is_paused = False

    @property
    def is_open(self) -> bool:
        """Whether something can still be said."""
        return self._transport is not None and not self._transport.is_closing()

    def begin(self, transport: asyncio.Transport) -> None:
        """The connection is there, or is in TLS now."""
        transport.set_write_buffer_limits(MAX_UNSENT_BYTES)
        self._transport = transport
        self._is_paused = False

    def lose(self) -> None:
        """The connection is gone."""
        self._transport = None
        self._unfed.clear()

    def receive(self, data: bytes) -> None:
        """Carry out what was read, as far as its replies find room."""
        session = self._session
        is_large = len(data) > SLICE_BYTES and session.state is not CONTENT
        if self._unfed or is_large or not session.wants_data:
            self._unfed += data
            self._feed()
            if self._unfed:
                self._pause()
        else:
            session.receive(data)
            self._run()

    def write(self) -> bool:
        """Send what the session says; whether that is anything."""
        output, transport = self._session.take_output(), self._transport
        if not output or transport is None or transport.is_closing():
            return False
        transport.write(output)
        return True

    def choke(self) -> None:
        """The peer does not read its replies."""
        self._is_choked = True
        self._pause()

    def unchoke(self) -> None:
        """It reads again."""
        self._is_choked = False
        self.go_on()

    def _pause(self) -> None:
        """Read no more for now.

        Only once there is more than can be carried out: a peer that waits for its reply sends
        nothing, and in TLS each pause costs a look for what has come meanwhile.
        """
        if self._transport is not None and self.is_open and not self._is_paused:
            self._transport.pause_reading()
            self._is_paused = True

    def go_on(self) -> None:
        """Carry out what has come meanwhile, and read on where nothing waits."""
        self._run()
        if self._unfed:
            self._feed()
        if not self._is_paused or self._transport is None or not self.is_open:
            return
        if self._session.wants_data and not self._is_choked:
            self._is_paused = False
            self._transport.resume_reading()

    def _feed(self) -> None:
        while self._unfed and not self._is_choked and self._session.wants_data:
            part = bytes(self._unfed[:SLICE_BYTES])
            del self._unfed[:SLICE_BYTES]
            self._session.receive(part)
            self._run()

    def close(self, reply: Reply | None = None) -> None:
        """Close when what was said is read, this last.

        Nothing can be said within a handshake, nor to who has not read what came before; in
        TLS, closing would wait for such a peer and take all it sends meanwhile.
        """
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        self._unfed.clear()
        if reply is not None:
            if self._is_choked or self._session.state is TLS:
                transport.abort()
                return
            transport.write(encode_reply(reply))
        transport.close()

    def abort(self) -> None:
        """Close without a word, whether anything is read or not."""
        if self._transport is not None:
            self._transport.abort()

    def has_begun_tls(self) -> bool:
        """After the 220: read nothing more before the handshake. False: it is ended."""
        if self._transport is None or not self.is_open:
            return False
        if self._unfed or self._is_choked:
            # What waits here would be read as if it came through TLS (CVE-2011-0411).
            self._transport.write(encode_reply(refusals.INJECTED))
            self.close()
            return False
        self._transport.pause_reading()
        return True

    async def secure(
        self, protocol: asyncio.Protocol, context: ssl.SSLContext, timeout_s: float
    ) -> bool:
        """Shake hands; False where that failed: the connection is closed then."""
        transport = self._transport
        if transport is None:
            return False
        try:
            secured = await asyncio.get_running_loop().start_tls(
                transport, protocol, context, server_side=True, ssl_handshake_timeout=timeout_s
            )
        except (OSError, ssl.SSLError):
            transport.abort()
            return False
        if secured is None:  # it was closed meanwhile
            return False
        self.begin(secured)
        self._session.tls_started()
        return True
