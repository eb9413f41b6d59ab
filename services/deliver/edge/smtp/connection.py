"""One SMTP connection after its EHLO, with our own session on an asyncio transport.

A connection has no asyncio tasks. The callback for received data runs pipelined transactions.

Owns: one connection's dialog and time limits. Does not own: the opening of a connection
(opening.py), the choice of messages (core/pool/planner.py), the meaning of an answer
(core/attempt/verdicts.py). Guarantees: for every message passed to start(), `done` is called
exactly once, even if the connection breaks or the deadline passes. If the server had already
refused the message, the refusal is the result. The time limit of a reply begins with the previous
complete reply (RFC 5321, 4.5.3.2); a part of a reply does not extend the time limit. A broken
transaction leaves its message in doubt only in two cases: the last byte of the message has left
this process, or the server has accepted the message before receiving all of it (send_queue.py).
Such an early acceptance does not count as a delivery. A connection carries no further message if
the server required a new login within a transaction, or refused a message because of a limit per
connection. After QUIT the connection waits for the server's 221, for at most GOODBYE_S.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from typing import Any, Final, Protocol

from msgspec import Struct

from services.deliver.core.attempt.results import Broken, TransactionResult, is_about_connection
from services.deliver.core.attempt.verdicts import wants_login, wants_tls
from services.deliver.edge.smtp.send_queue import descriptor_of, unacknowledged_bytes
from services.deliver.edge.tracing.dialog import Dialog
from shared.smtp.client.session import ClientSession
from shared.smtp.errors import RemoteProtocolError
from shared.smtp.events import Finished, Send, Stage
from shared.smtp.extensions import Extensions, Unsendable
from shared.smtp.remote_text import clean_text

# The time to wait for the reply to QUIT.
GOODBYE_S: Final = 2.0
# TLS may put an alert of up to this size into the write buffer while it reads. Unsent content is
# larger than this size, or a part of the content waits in the kernel (send_queue.py).
_TLS_OWN_BYTES: Final = 128


class Failpoints(Protocol):
    """Points at which a test may end the process."""

    def hit(self, name: str) -> None:
        """Pass the failpoint `name`."""
        ...


class Timeouts(Struct, frozen=True):
    """Seconds that each step may take (RFC 5321 section 4.5.3.2)."""

    connect_s: float
    greeting_s: float
    command_s: float
    data_s: float


Done = Callable[[TransactionResult], None]


class SmtpConnection(asyncio.Protocol):
    """The protocol on an opened transport: one transaction at a time."""

    def __init__(
        self,
        extensions: Extensions,
        tls: str,
        timeouts: Timeouts,
        failpoints: Failpoints,
        *,
        tls_fault: str = "",
        tls_policy: str = "",
    ) -> None:
        self._session = ClientSession(extensions)
        self._timeouts = timeouts
        self._failpoints = failpoints
        self._transport: Any = None
        self._descriptor = -1
        self._done: Done | None = None
        self._loop = asyncio.get_running_loop()
        self.on_closed: Callable[[SmtpConnection], None] = lambda connection: None
        # Called if a server whose TLS has failed refuses to continue without TLS.
        self.on_tls_wanted: Callable[[], None] = lambda: None
        # Called if the server offers CHUNKING but refuses BDAT as an unknown command.
        self.on_chunking_refused: Callable[[], None] = lambda: None
        # Called if the server answers only some commands of the first transaction.
        self.on_group_unanswered: Callable[[], None] = lambda: None
        self.tls = tls
        self.is_resumed = False  # True if an earlier TLS session was resumed.
        # The reason why the server's TLS was not used, or did not satisfy the policy.
        self.tls_fault = tls_fault
        self.tls_policy = tls_policy
        self.source = ""
        self.server = ""
        # Returns True if we have logged in at the server, or would log in on a new connection.
        self.has_login: Callable[[], bool] = lambda: False
        # Called at the end of each transaction if we have logged in.
        self.on_ended: Callable[[TransactionResult], None] | None = None
        # Shows the dialog of the transaction to operators; None if it is not traced.
        self.dialog: Dialog | None = None
        self.closed = self._has_quit = False
        self._has_worked = False  # True after the first answered transaction
        self._is_writing_paused = False
        # After this time, the server's next answer is overdue. check_deadline() checks this time.
        self._deadline = math.inf
        # While aiosmtplib's object is referenced, the object cleans up the transport.
        self.opener: Any = None

    @property
    def is_usable(self) -> bool:
        """Return whether another transaction may be started."""
        has_ended = self.closed or self._has_quit or self._session.is_closing
        return self._done is None and not has_ended

    @property
    def takes_eight_bit(self) -> bool:
        """Return whether the server accepts content with 8-bit bytes."""
        return self._session.takes_eight_bit

    def takes(self, content: bytes) -> bool:
        """Return whether the server accepts this content without a conversion to 7-bit text."""
        return self._session.takes(content)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take over the transport."""
        self._transport = transport
        self._descriptor = descriptor_of(transport)
        name = transport.get_extra_info("sockname")
        self.source = str(name[0]) if name else ""

    def start(self, sender: str, recipient: str, content: bytes, done: Done) -> None:
        """Start a transaction; `done` is called once, possibly before start() returns."""
        data = self._session.send_transaction(sender, recipient, content)
        if isinstance(data, Unsendable):
            done(data)
            return
        self._done = done
        self._deadline = self._loop.time() + self._timeouts.command_s
        if self.dialog is not None:
            self.dialog.sent(data)
        self._transport.write(data)
        self._failpoints.hit("deliver.mail_sent")

    def data_received(self, data: bytes) -> None:
        """Process data from the server."""
        session = self._session
        if self.dialog is not None:
            self.dialog.received(data)
        before = session.waiting_for
        try:
            events = session.receive(data)
        except RemoteProtocolError as error:
            if self._session.is_chunking_refused:
                self.on_chunking_refused()
            self._break(f"The server violated the protocol: {error}")
            return
        if not events and self._done is not None and session.waiting_for is not before:
            self._deadline = self._loop.time() + self._timeouts.command_s
        for event in events:
            if isinstance(event, Send):
                if self.dialog is not None:
                    show(self.dialog, event)
                self._transport.write(event.data)
                limits = self._timeouts
                limit_s = limits.data_s if event.is_content else limits.command_s
                self._deadline = self._loop.time() + limit_s
                if event.is_content:
                    self._failpoints.hit("deliver.data_sent")
            elif event.stage is Stage.CONTENT and (
                self._has_unsent or unacknowledged_bytes(self._descriptor)
            ):
                self._finish_early(event)
            else:
                self._failpoints.hit("deliver.final_reply")
                self._finish(event)
        if self._session.is_closing and self._done is None:
            self.close()

    def pause_writing(self) -> None:
        """Record that a large part of the written content has not left this process."""
        self._is_writing_paused = True

    def resume_writing(self) -> None:
        """Record that most of the written content has left this process."""
        self._is_writing_paused = False

    def eof_received(self) -> bool:
        """Close the connection at once, because the server can send no further answer."""
        self._break("The server closed the connection", is_orderly=self._done is None)
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """End a running transaction as broken."""
        self._break(
            f"The connection was lost: {exc}" if exc else "The server closed the connection"
        )

    def check_deadline(self, now: float) -> None:
        """Close the connection if the server's answer is overdue; `now` is the loop's time."""
        if now < self._deadline:
            return
        if self._done is None:  # QUIT was not answered
            self.close()
            return
        waiting = self._session.waiting_for
        step = waiting.value if waiting is not None else "a command"
        if waiting in (Stage.RCPT, Stage.DATA) and not self._has_worked:
            self.on_group_unanswered()
        self._break(f"No answer to {step} in time")

    def close(self) -> None:
        """Close the connection at once; a running transaction is aborted."""
        if not self.closed:
            self._break("We closed the connection", is_orderly=self._done is None)

    def quit(self) -> None:
        """Send QUIT and close after the reply; if the connection is not idle, close at once."""
        if not self.is_usable:
            if not self._has_quit:
                self.close()
            return
        self._has_quit = True
        self._deadline = self._loop.time() + GOODBYE_S
        self._transport.write(self._session.quit())

    def _finish(self, ending: TransactionResult) -> None:
        done, self._done = self._done, None
        self._deadline = math.inf
        has_failed = bool(self.tls_fault) and not self.tls
        if has_failed and isinstance(ending, Finished) and wants_tls(ending.reply):
            self.on_tls_wanted()
        if self.on_ended is not None:
            self.on_ended(ending)
        if isinstance(ending, Finished):
            self._has_worked = True
            if self._is_spent(ending):
                self.quit()
        if done is not None:
            done(ending)

    def _is_spent(self, ending: Finished) -> bool:
        """Return True if this connection can carry no more mail but a new connection can."""
        is_logged_out = wants_login(ending.reply) and self.has_login()
        is_full = is_about_connection(ending.stage, ending.reply)
        return self.is_usable and (is_logged_out or is_full)

    @property
    def _has_unsent(self) -> bool:
        # A lost transport has an empty buffer. With TLS, the buffer holds only a part of the unsent
        # data.
        own_bytes = _TLS_OWN_BYTES if self.tls else 0
        return self._is_writing_paused or self._transport.get_write_buffer_size() > own_bytes

    def _finish_early(self, ending: Finished) -> None:
        """End a transaction that the server answered before the content was sent completely.

        The connection also ends, because the rest of the content would precede the next message.
        """
        if ending.reply.is_positive:
            self._break("The server accepted the message before it had all of it", is_claimed=True)
            return
        self._session.is_closing = True
        self._finish(ending)

    def _break(self, reason: str, *, is_orderly: bool = False, is_claimed: bool = False) -> None:
        """Close the connection. `is_claimed` is True if the server has accepted the message."""
        if self.closed:
            return
        self.closed = True
        is_in_doubt = self._session.is_content_sent and (is_claimed or not self._has_unsent)
        if is_orderly and not self._has_unsent:
            self._transport.close()
        else:
            # close() would wait until the peer has read everything that was written. A peer that
            # reads nothing would keep the connection and the message in memory forever.
            self._transport.abort()
        self.opener = None
        if self._done is not None:
            session = self._session
            self._finish(
                session.decided
                or Broken(
                    clean_text(reason),
                    session.is_answered,
                    is_in_doubt,
                    session.is_chunking_refused,
                )
            )
        self.on_closed(self)


def show(dialog: Dialog, event: Send) -> None:
    """Show commands, or the size of content, in a traced dialog."""
    if event.is_content:
        dialog.sent_content(len(event.data))
    else:
        dialog.sent(event.data)
