"""One SMTP connection: opened by aiosmtplib, then driven by our own session without tasks.

open_connection() connects within `connect_s`, waits for the greeting within `greeting_s`, sends
EHLO and starts TLS if the server offers it. Then the transport gets a protocol of our own
(SmtpConnection), which runs pipelined transactions from the reader's callback. aiosmtplib's buffer
must be empty at that moment: a connection to a server that has sent data out of turn is not used.

Guarantees: every message passed to start() gets exactly one call of `done`, also when the
connection breaks or the deadline passes; a refusal that was received before is the result then.
After QUIT the connection waits for the server's 221, for at most GOODBYE_S.
"""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
from collections.abc import Callable
from typing import Any, Final, Protocol

import aiosmtplib
from msgspec import Struct

from services.deliver.core.routing import Host
from shared.smtp.client.session import ClientSession, Unsendable
from shared.smtp.errors import RemoteProtocolError
from shared.smtp.events import Finished, Send, Stage
from shared.smtp.extensions import Extensions, parse_extensions
from shared.smtp.remote_text import clean_text
from shared.smtp.reply import Reply, make_reply

SERVICE_NOT_READY: Final = 421
# aiosmtplib reports an answer that is not valid SMTP with a code of its own.
_CODES: Final = range(200, 600)
_PREFIX: Final = re.compile(r"\AError connecting to .* on port \w+: ", re.DOTALL)
# How long to wait for the reply to QUIT.
GOODBYE_S: Final = 2.0


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


class Refused(Exception):
    """The server refused in its greeting or in its answer to EHLO."""

    def __init__(self, stage: Stage, reply: Reply) -> None:
        super().__init__(str(reply))
        self.stage = stage
        self.reply = reply


class Broken(Struct, frozen=True):
    """A transaction ended without an answer: the connection broke or timed out.

    `answered`: MAIL or RCPT had been answered. `in_doubt`: the content had been sent completely.
    `fresh`: this was the connection's first transaction, so an idle time-out cannot be the cause.
    """

    reason: str
    answered: bool
    in_doubt: bool
    fresh: bool


TransactionResult = Finished | Broken | Unsendable
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
    ) -> None:
        self._session = ClientSession(extensions)
        self._timeouts = timeouts
        self._failpoints = failpoints
        self._transport: Any = None
        self._done: Done | None = None
        self._loop = asyncio.get_running_loop()
        self.on_closed: Callable[[SmtpConnection], None] = lambda wire: None
        self.tls = tls
        # Why there is no TLS though the server offers it.
        self.tls_fault = tls_fault
        self.source = ""
        self.sent = 0
        self.closed = False
        self._has_quit = False
        # When the transaction, or the idle time, ends; the pool's sweep checks it.
        self.deadline = 0.0
        # aiosmtplib's object owns the clean-up of the transport as long as it is referenced.
        self.opener: Any = None

    @property
    def is_usable(self) -> bool:
        """Whether another transaction may be started."""
        has_ended = self.closed or self._has_quit or self._session.is_closing
        return self._done is None and not has_ended

    @property
    def is_busy(self) -> bool:
        """Whether a transaction is under way."""
        return self._done is not None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take over the transport."""
        self._transport = transport
        name = transport.get_extra_info("sockname")
        self.source = str(name[0]) if name else ""

    def start(self, sender: str, recipient: str, content: bytes, done: Done) -> None:
        """Start a transaction; `done` is called once, possibly before this returns."""
        data = self._session.send_transaction(sender, recipient, content)
        if isinstance(data, Unsendable):
            done(data)
            return
        self.sent += 1
        self._done = done
        self.deadline = self._loop.time() + self._timeouts.command_s
        self._transport.write(data)
        self._failpoints.hit("deliver.mail_sent")

    def data_received(self, data: bytes) -> None:
        """Process data from the server."""
        try:
            events = self._session.receive(data)
        except RemoteProtocolError as error:
            self._break(f"The server violated the protocol: {error}")
            return
        for event in events:
            if isinstance(event, Send):
                self._transport.write(event.data)
                limits = self._timeouts
                limit_s = limits.data_s if event.is_content else limits.command_s
                self.deadline = self._loop.time() + limit_s
                if event.is_content:
                    self._failpoints.hit("deliver.data_sent")
            else:
                self._failpoints.hit("deliver.final_reply")
                self._finish(event)
        if self._session.is_closing and self._done is None:
            self.close()

    def eof_received(self) -> bool:
        """Close the connection: the server sends no more."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """End a running transaction as broken."""
        self._break(
            f"The connection was lost: {exc}" if exc else "The server closed the connection"
        )

    def expire(self) -> None:
        """End the connection because its deadline has passed."""
        waiting = self._session.waiting_for
        step = waiting.value if waiting is not None else "a command"
        self._break(f"No answer to {step} in time")

    def close(self) -> None:
        """Close the connection at once; a running transaction is aborted."""
        if not self.closed:
            self._break("We closed the connection", is_orderly=self._done is None)

    def quit(self) -> None:
        """Close the connection after the server has answered QUIT; at once if it is not idle."""
        if not self.is_usable:
            if not self._has_quit:
                self.close()
            return
        self._has_quit = True
        self.deadline = self._loop.time() + GOODBYE_S
        self._transport.write(self._session.quit())

    def _finish(self, ending: TransactionResult) -> None:
        done, self._done = self._done, None
        if done is not None:
            done(ending)

    def _break(self, reason: str, is_orderly: bool = False) -> None:
        if self.closed:
            return
        self.closed = True
        if is_orderly:
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
                    session.is_content_sent,
                    self.sent == 1,
                )
            )
        self.on_closed(self)


def _context() -> ssl.SSLContext:
    # Opportunistic TLS: any certificate is better than no encryption (RFC 7435).
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


_TLS: Final = _context()


async def open_connection(
    host: Host, ehlo_name: str, timeouts: Timeouts, failpoints: Failpoints
) -> SmtpConnection:
    """Open a connection that is ready for transactions, with TLS if the server offers it.

    Raises Refused with the server's answer, OSError or TimeoutError if there is no answer.
    """
    try:
        return await _open(host, ehlo_name, timeouts, failpoints)
    except ssl.SSLError as error:
        # Opportunistic TLS: a server whose TLS does not work still gets its mail.
        fault = clean_text(str(error)) or type(error).__name__
        return await _open(host, ehlo_name, timeouts, failpoints, tls_fault=fault)


async def _connect(host: Host, timeout_s: float) -> socket.socket:
    """Connect a socket to the first of the host's addresses that accepts."""
    loop = asyncio.get_running_loop()
    fault: OSError = OSError(f"{host.name} has no address")
    async with asyncio.timeout(timeout_s):
        for family, kind, protocol, _, address in await loop.getaddrinfo(
            host.name, host.port, type=socket.SOCK_STREAM
        ):
            made = socket.socket(family, kind, protocol)
            try:
                made.setblocking(False)
                await loop.sock_connect(made, address)
            except OSError as error:
                made.close()
                fault = error
            except BaseException:
                made.close()
                raise
            else:
                return made
    raise fault


async def _open(
    host: Host, ehlo_name: str, timeouts: Timeouts, failpoints: Failpoints, tls_fault: str = ""
) -> SmtpConnection:
    smtp = aiosmtplib.SMTP(
        hostname=host.name,
        sock=await _connect(host, timeouts.connect_s),
        local_hostname=ehlo_name,
        start_tls=False,
    )
    stage, tls = Stage.CONNECT, ""
    try:
        await smtp.connect(timeout=timeouts.greeting_s)
        stage = Stage.EHLO
        await _hello(smtp, timeouts)
        if not tls_fault and smtp.supports_extension("starttls"):
            tls, tls_fault = await _start_tls(smtp, timeouts)
    except (
        aiosmtplib.SMTPConnectResponseError,
        aiosmtplib.SMTPHeloError,
        aiosmtplib.SMTPResponseException,
    ) as error:
        smtp.close()
        if error.code not in _CODES:
            said = clean_text(f"The server does not speak SMTP: {error.message}")
            raise ConnectionError(said) from None
        raise Refused(stage, make_reply(error.code, error.message)) from None
    except aiosmtplib.SMTPException as error:
        smtp.close()
        # Its text repeats the host, and a port that it was not given.
        raise ConnectionError(_PREFIX.sub("", str(error))) from None
    except BaseException:
        smtp.close()
        raise
    failpoints.hit("deliver.connected")
    return _take_over(smtp, timeouts, failpoints, tls=tls, tls_fault=tls_fault)


async def _start_tls(smtp: aiosmtplib.SMTP, timeouts: Timeouts) -> tuple[str, str]:
    """Start TLS: the TLS version and "", or "" and the reply of a server that refuses STARTTLS.

    Raises SSLError if the connection cannot be used afterwards.
    """
    try:
        await smtp.starttls(tls_context=_TLS, timeout=timeouts.command_s)
        # With TLS 1.3 a server's refusal of the handshake appears only at the first read.
        await _hello(smtp, timeouts)
        return str(smtp.get_transport_info("ssl_object").version()), ""
    except aiosmtplib.SMTPResponseException as error:
        if not smtp.is_connected or error.code not in _CODES or error.code == SERVICE_NOT_READY:
            raise ssl.SSLError(str(error)) from None
        return "", str(make_reply(error.code, error.message))
    except (aiosmtplib.SMTPException, OSError) as error:
        raise ssl.SSLError(str(error)) from error


async def _hello(smtp: aiosmtplib.SMTP, timeouts: Timeouts) -> None:
    try:
        await smtp.ehlo(timeout=timeouts.command_s)
    except aiosmtplib.SMTPHeloError as refused:
        try:
            await smtp.helo(timeout=timeouts.command_s)
        except (aiosmtplib.SMTPServerDisconnected, aiosmtplib.SMTPTimeoutError):
            raise refused from None  # the refusal of EHLO says more


def _take_over(
    smtp: aiosmtplib.SMTP, timeouts: Timeouts, failpoints: Failpoints, *, tls: str, tls_fault: str
) -> SmtpConnection:
    transport, protocol = smtp.transport, smtp.protocol
    if transport is None or protocol is None or transport.is_closing():
        smtp.close()
        raise ConnectionError("The server closed the connection after EHLO")
    if getattr(protocol, "_buffer", b""):
        smtp.close()
        raise ConnectionError("The server sent data out of turn")
    answer = smtp.last_ehlo_response
    extensions = parse_extensions(answer.message if answer is not None else "")
    wire = SmtpConnection(extensions, tls, timeouts, failpoints, tls_fault=tls_fault)
    wire.opener = smtp
    transport.set_protocol(wire)
    wire.connection_made(transport)
    return wire
