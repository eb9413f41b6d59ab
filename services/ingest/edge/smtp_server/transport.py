"""Passes bytes between the asyncio transport of an SMTP connection and its session.

This module owns the asyncio transport, the received bytes that are not processed yet, flow control
and STARTTLS. Nothing is read from a peer that does not read its replies. Events, replies and time
limits are in connection.py.

For each peer, at most these bytes are held in memory: MAX_UNSENT_BYTES of replies, the replies to
one slice of commands, the bytes of one read of the transport, and the bytes that the session holds.
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

# If there are more bytes of unsent replies than this number, reading is paused.
MAX_UNSENT_BYTES: Final = 65_536
# Commands are processed in slices of this size, because a short command can have a long reply.
SLICE_BYTES: Final = 8_192


class SmtpTransport:
    """An asyncio transport and the session on it."""

    def __init__(self, session: ServerSession, run: Callable[[], None]) -> None:
        """`run` processes the received bytes of the session, and writes the replies."""
        self._session = session
        self._run = run
        self._transport: asyncio.Transport | None = None
        self._unfed = bytearray()
        self._is_writing_paused = False
        self._is_paused = False

    @property
    def is_open(self) -> bool:
        """Return True if a reply can still be sent."""
        return self._transport is not None and not self._transport.is_closing()

    def attach(self, transport: asyncio.Transport) -> None:
        """Use this transport from now on. This method is called again after STARTTLS."""
        transport.set_write_buffer_limits(MAX_UNSENT_BYTES)
        self._transport = transport
        self._is_paused = False

    def detach(self) -> None:
        """Release the transport of a closed connection."""
        self._transport = None
        self._unfed.clear()

    def receive(self, data: bytes) -> None:
        """Process received bytes as long as there is room for the replies. Keep the other bytes and
        pause reading."""
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
        """Send the output of the session. Return True if there was output."""
        output, transport = self._session.take_output(), self._transport
        if not output or transport is None or transport.is_closing():
            return False
        transport.write(output)
        return True

    def pause_writing(self) -> None:
        """Stop processing bytes, because the peer does not read its replies."""
        self._is_writing_paused = True
        self._pause()

    def resume_writing(self) -> None:
        """Continue to process bytes, because the peer reads its replies again."""
        self._is_writing_paused = False
        self.resume()

    def _pause(self) -> None:
        """Pause reading.

        This method is called only if some bytes cannot be processed yet. A peer that waits for its
        reply sends nothing, so a pause is usually not needed. With TLS, each pause costs an
        additional read.
        """
        if self._transport is not None and self.is_open and not self._is_paused:
            self._transport.pause_reading()
            self._is_paused = True

    def resume(self) -> None:
        """Process the bytes that have arrived, and resume reading unless an answer is pending."""
        self._run()
        if self._unfed:
            self._feed()
        if not self._is_paused or self._transport is None or not self.is_open:
            return
        if self._session.wants_data and not self._is_writing_paused:
            self._is_paused = False
            self._transport.resume_reading()

    def _feed(self) -> None:
        while self._unfed and not self._is_writing_paused and self._session.wants_data:
            part = bytes(self._unfed[:SLICE_BYTES])
            del self._unfed[:SLICE_BYTES]
            self._session.receive(part)
            self._run()

    def close(self, reply: Reply | None = None) -> None:
        """Send the unsent replies and then `reply`. Then close the connection.

        During a handshake, or if the peer does not read, no reply can be sent. Then `reply` is
        dropped and the connection is aborted. With TLS, an orderly close would wait for the peer
        and buffer all bytes that the peer sends during this time.
        """
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        self._unfed.clear()
        if reply is not None:
            if self._is_writing_paused or self._session.state is TLS:
                transport.abort()
                return
            transport.write(encode_reply(reply))
        transport.close()

    def abort(self) -> None:
        """Close the connection at once, without a reply."""
        if self._transport is not None:
            self._transport.abort()

    def try_begin_tls(self) -> bool:
        """Pause reading before the handshake. If the peer has sent bytes after STARTTLS, close the
        connection and return False."""
        if self._transport is None or not self.is_open:
            return False
        if self._unfed or self._is_writing_paused:
            # Bytes that arrived in plain text must not be processed as if they had arrived through
            # TLS (CVE-2011-0411).
            self._transport.write(encode_reply(refusals.INJECTED))
            self.close()
            return False
        self._transport.pause_reading()
        return True

    async def secure(
        self, protocol: asyncio.Protocol, context: ssl.SSLContext, timeout_s: float
    ) -> bool:
        """Perform the TLS handshake. If the handshake fails, close the connection and return
        False."""
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
        if secured is None:  # the transport was closed during the handshake
            return False
        self.attach(secured)
        self._session.tls_started()
        return True
