"""Opens connections: TCP, greeting, EHLO and STARTTLS by aiosmtplib, then a connection of our own.

Owns: each step's time limit, what to do when TLS fails. Does not own: the dialog afterwards
(connection.py). aiosmtplib's buffer must be empty when the transport is taken over: a connection to
a server that has sent data out of turn is not used.
"""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
from typing import Final

import aiosmtplib

from services.deliver.core.attempt.results import (
    SERVICE_NOT_READY,
    ConnectFault,
    NoConnection,
    Refusal,
)
from services.deliver.core.routing.sites import Host
from services.deliver.edge.smtp.connection import Failpoints, SmtpConnection, Timeouts
from services.deliver.edge.smtp.tls import TlsPolicy, in_clear
from shared.smtp.events import Stage
from shared.smtp.extensions import parse_extensions
from shared.smtp.remote_text import clean_text
from shared.smtp.reply import Reply, make_reply

# aiosmtplib reports an answer that is not valid SMTP with a code of its own.
_CODES: Final = range(200, 600)
_PREFIX: Final = re.compile(r"\AError connecting to .* on port \w+: ", re.DOTALL)


class _Refused(Exception):
    def __init__(self, stage: Stage, reply: Reply) -> None:
        super().__init__(str(reply))
        self.refusal = Refusal(stage, reply)


class Opener:
    """Opens connections with one EHLO name and the same time limits."""

    def __init__(self, ehlo_name: str, timeouts: Timeouts, failpoints: Failpoints) -> None:
        self._ehlo_name = ehlo_name
        self._timeouts = timeouts
        self._failpoints = failpoints

    async def open(self, host: Host, tls: TlsPolicy) -> SmtpConnection | ConnectFault:
        """Open a connection that is ready for transactions, or return why there is none.

        Raises only for faults of our own code.
        """
        try:
            try:
                return await self._open(host, tls)
            except ssl.SSLError as error:
                # Opportunistic TLS: a server whose TLS does not work still gets its mail.
                fault = clean_text(str(error)) or type(error).__name__
                return await self._open(host, in_clear(fault))
        except _Refused as error:
            return error.refusal
        except OSError as error:  # TimeoutError is one
            reason = f"{host.name}:{host.port}: {error or type(error).__name__}"
            return NoConnection(clean_text(reason))

    async def _open(self, host: Host, tls: TlsPolicy) -> SmtpConnection:
        timeouts = self._timeouts
        smtp = aiosmtplib.SMTP(
            hostname=host.name,
            sock=await _connect(host, timeouts.connect_s),
            local_hostname=self._ehlo_name,
            start_tls=False,
        )
        stage, version, fault = Stage.CONNECT, "", tls.fault
        try:
            await smtp.connect(timeout=timeouts.greeting_s)
            stage = Stage.EHLO
            await _hello(smtp, timeouts)
            if tls.context is not None and smtp.supports_extension("starttls"):
                version, fault = await _start_tls(smtp, tls.context, timeouts)
        except (
            aiosmtplib.SMTPConnectResponseError,
            aiosmtplib.SMTPHeloError,
            aiosmtplib.SMTPResponseException,
        ) as error:
            smtp.close()
            if error.code not in _CODES:
                said = clean_text(f"The server does not speak SMTP: {error.message}")
                raise ConnectionError(said) from None
            raise _Refused(stage, make_reply(error.code, error.message)) from None
        except aiosmtplib.SMTPException as error:
            smtp.close()
            # Its text repeats the host, and a port that it was not given.
            raise ConnectionError(_PREFIX.sub("", str(error))) from None
        except BaseException:
            smtp.close()
            raise
        self._failpoints.hit("deliver.connected")
        return self._take_over(smtp, version, fault)

    def _take_over(self, smtp: aiosmtplib.SMTP, version: str, fault: str) -> SmtpConnection:
        transport, protocol = smtp.transport, smtp.protocol
        if transport is None or protocol is None or transport.is_closing():
            smtp.close()
            raise ConnectionError("The server closed the connection after EHLO")
        if getattr(protocol, "_buffer", b""):
            smtp.close()
            raise ConnectionError("The server sent data out of turn")
        answer = smtp.last_ehlo_response
        extensions = parse_extensions(answer.message if answer is not None else "")
        connection = SmtpConnection(
            extensions, version, self._timeouts, self._failpoints, tls_fault=fault
        )
        connection.opener = smtp
        transport.set_protocol(connection)
        connection.connection_made(transport)
        return connection


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


async def _start_tls(
    smtp: aiosmtplib.SMTP, context: ssl.SSLContext, timeouts: Timeouts
) -> tuple[str, str]:
    """Start TLS: the TLS version and "", or "" and the reply of a server that refuses STARTTLS.

    Raises SSLError if the connection cannot be used afterwards.
    """
    try:
        await smtp.starttls(tls_context=context, timeout=timeouts.command_s)
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
