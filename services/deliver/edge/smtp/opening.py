"""Opens connections. aiosmtplib does the steps up to STARTTLS; SmtpConnection does the rest.

Owns: the time limit of each step; the steps after a TLS failure; the report of servers whose
CHUNKING or PIPELINING does not work; the QUIT after a refused greeting or EHLO (RFC 5321, 3.1). A
server whose TLS is broken is remembered, so that one connect is saved. A refusal is returned
without waiting for the QUIT. Does not own: the choice of addresses (pool/site_hosts.py), TCP
(connecting.py), the dialog afterwards (connection.py). The buffer of aiosmtplib must be empty when
SmtpConnection takes over the transport. So a connection is not used if its server sent data before
a command asked for data.
"""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
from collections.abc import Sequence
from typing import Final

import aiosmtplib
from msgspec import Struct

from services.deliver.core.attempt.results import ConnectFault, NoConnection, NoLogin, Refusal
from services.deliver.core.routing.candidates import Candidate
from services.deliver.core.routing.logins import Login, tls_for
from services.deliver.core.routing.sites import Host
from services.deliver.core.sources.table import SYSTEM, Source
from services.deliver.core.tls.policy import HostTls
from services.deliver.edge.smtp.connecting import Connected, connect, connect_one
from services.deliver.edge.smtp.connection import Failpoints, SmtpConnection, Timeouts
from services.deliver.edge.smtp.handshake import (
    REPLY_CODES,
    Partings,
    TracedClient,
    check_in_turn,
    hello,
    start_tls,
)
from services.deliver.edge.smtp.logins import LOGIN_REFUSED, LoginRefused
from services.deliver.edge.smtp.server_memory import ServerMemory, SessionKey
from services.deliver.edge.smtp.tls import (
    MAX_FAULT_CHARACTERS,
    OFFERED,
    TlsContexts,
    TlsPolicy,
    check_tls,
    in_clear,
    named_fault,
    no_tls,
)
from services.deliver.edge.tracing.dialog import Dialog
from shared.smtp.events import Stage
from shared.smtp.extensions import Extensions, parse_extensions
from shared.smtp.remote_text import clean_text
from shared.smtp.reply import Reply, make_reply

_PREFIX: Final = re.compile(r"\AError connecting to .* on port \w+: ", re.DOTALL)


class _Refused(Exception):
    def __init__(self, stage: Stage, reply: Reply) -> None:
        super().__init__(str(reply))
        self.refusal = Refusal(stage, reply)


class _Target(Struct, frozen=True):
    """The server and our login at it. The login is read once, because TLS depends on the login."""

    candidate: Candidate
    login: Login | None
    dialog: Dialog | None


class Opener:
    """Opens connections from one source, with one EHLO name and the same time limits."""

    def __init__(
        self,
        ehlo_name: str,
        timeouts: Timeouts,
        failpoints: Failpoints,
        contexts: TlsContexts | None = None,
        *,
        source: Source = SYSTEM,
        servers: ServerMemory | None = None,
    ) -> None:
        """`ehlo_name` is used for a source that has no EHLO name."""
        self._ehlo_name = ehlo_name
        self._source = source
        self._contexts = contexts or TlsContexts()
        self._timeouts = timeouts
        self._failpoints = failpoints
        self._partings = Partings()
        self._servers = servers or ServerMemory()

    def from_source(self, source: Source) -> Opener:
        """Return an opener for this source. All openers share the memory of the servers."""
        name = source.ehlo_name or self._ehlo_name
        return Opener(
            name,
            self._timeouts,
            self._failpoints,
            self._contexts,
            source=source,
            servers=self._servers,
        )

    def refusal(self, host: Host) -> NoLogin | None:
        """Return why no connection to this host should be opened now; None if one may be opened."""
        return self._servers.logins.fault(host, asyncio.get_running_loop().time())

    async def connect(self, candidates: Sequence[Candidate], within_s: float) -> Connected:
        """Connect to the first of at most two addresses that accepts, within both time limits."""
        limit_s = min(self._timeouts.connect_s, within_s)
        return await connect(candidates, limit_s, self._source)

    async def open(
        self,
        candidate: Candidate,
        sock: socket.socket,
        tls: HostTls,
        dialog: Dialog | None = None,
    ) -> SmtpConnection | ConnectFault:
        """Make a connection that is ready for transactions, or return why this was not possible.

        This method takes over the socket. It raises only for faults of our own code. `dialog` shows
        the SMTP dialog to operators.
        """
        login = self._servers.logins.of(candidate.host)
        policy = self._contexts.policy_of(tls_for(login, tls))
        if policy.is_required and policy.fault:
            sock.close()
            return no_tls(candidate, policy, policy.fault)
        try:
            return await self._open_as_known(_Target(candidate, login, dialog), sock, policy)
        except _Refused as error:
            return error.refusal
        except LoginRefused as error:
            return error.fault
        except ssl.SSLError as error:
            return no_tls(candidate, policy, named_fault(error))
        except OSError as error:  # TimeoutError is an OSError
            return NoConnection(clean_text(f"{candidate}: {error or type(error).__name__}"))

    async def _open_as_known(
        self, target: _Target, sock: socket.socket, tls: TlsPolicy
    ) -> SmtpConnection:
        """Open a connection. If opportunistic TLS fails, connect again without TLS."""
        if tls.is_required:
            return await self._open(target, sock, tls)
        if tls.is_trial:
            return await self._open_on_trial(target, sock, tls)
        now = asyncio.get_running_loop().time
        if known := self._servers.tls.fault(target.candidate.host, now()):
            return await self._open(target, sock, in_clear(known))
        try:
            return await self._open(target, sock, tls)
        except ssl.SSLError as error:
            fault = clean_text(str(error)) or type(error).__name__
        if target.dialog is not None:
            target.dialog.said(f"TLS has failed, connecting again without it: {fault}")
        again = await connect_one(target.candidate, self._timeouts.connect_s, self._source)
        connection = await self._open(target, again, in_clear(fault))
        # The fault is remembered only after clear text has worked. If clear text had failed, too,
        # the network could be the cause.
        self._servers.tls.remember(target.candidate.host, fault, now())
        return connection

    async def _open_on_trial(
        self, target: _Target, sock: socket.socket, tls: TlsPolicy
    ) -> SmtpConnection:
        """Try the policy. If TLS violates it, report this fault and use opportunistic TLS."""
        fault = tls.fault
        if not fault:
            try:
                return await self._open(target, sock, tls)
            except ssl.SSLError as error:
                fault = named_fault(error)
            sock = await connect_one(target.candidate, self._timeouts.connect_s, self._source)
        connection = await self._open_as_known(target, sock, self._contexts.opportunistic)
        connection.tls_policy = tls.name
        connection.tls_fault = clean_text(fault)[:MAX_FAULT_CHARACTERS]
        return connection

    async def _open(self, target: _Target, sock: socket.socket, tls: TlsPolicy) -> SmtpConnection:
        """Open a connection. Offer the TLS session of an earlier connection if one is remembered.

        A server that cannot resume the session does a full handshake. If a server breaks the
        connection instead, we connect again and do a full handshake.
        """
        context = tls.context if tls.resumes else None
        if context is None:
            return await self._greet(target, sock, tls)
        sessions, now = self._servers.sessions, asyncio.get_running_loop().time
        key = self._session_key(target.candidate, tls)
        session = sessions.find(key, context, now())
        if session is None:
            return await self._greet(target, sock, tls)
        token = OFFERED.set(session)
        try:
            return await self._greet(target, sock, tls)
        except ssl.SSLError as error:
            sessions.forget(key)
            if target.dialog is not None:
                target.dialog.said(f"the TLS session was not resumed, connecting again: {error}")
        finally:
            OFFERED.reset(token)
        again = await connect_one(target.candidate, self._timeouts.connect_s, self._source)
        return await self._greet(target, again, tls)

    def _session_key(self, candidate: Candidate, tls: TlsPolicy) -> SessionKey:
        host = candidate.host
        return SessionKey(host.name, host.port, candidate.ip, self._source.name, tls.name)

    async def _greet(self, target: _Target, sock: socket.socket, tls: TlsPolicy) -> SmtpConnection:
        timeouts = self._timeouts
        smtp = TracedClient(
            hostname=target.candidate.host.name,
            sock=sock,
            local_hostname=self._ehlo_name,
            start_tls=False,
        )
        smtp.dialog = target.dialog
        stage, version, fault = Stage.CONNECT, "", tls.fault
        try:
            await smtp.greet(timeouts.greeting_s)
            check_in_turn(smtp)
            stage = Stage.EHLO
            await hello(smtp, timeouts)
            if tls.context is not None and smtp.supports_extension("starttls"):
                version, fault = await start_tls(smtp, tls.context, timeouts)
            check_tls(tls, smtp.get_transport_info("ssl_object") if version else None, fault)
            host, login = target.candidate.host, target.login
            await self._servers.logins.log_in(smtp, host, login, timeouts.command_s)
            check_in_turn(smtp)
        except LoginRefused:
            self._partings.part(smtp, LOGIN_REFUSED)
            raise
        except aiosmtplib.SMTPResponseException as error:
            self._partings.part(smtp, error.code)
            if error.code not in REPLY_CODES:
                said = f"The server does not speak SMTP: {error.message.strip()}"
                raise ConnectionError(clean_text(said).replace("\n", " / ")) from None
            raise _Refused(stage, make_reply(error.code, error.message)) from None
        except aiosmtplib.SMTPException as error:
            smtp.close()
            # aiosmtplib's text repeats the host and contains a wrong port.
            raise ConnectionError(_PREFIX.sub("", str(error))) from None
        except BaseException:
            smtp.close()
            raise
        self._failpoints.hit("deliver.connected")
        return self._greeted(smtp, target, tls, version, fault)

    def _greeted(
        self, smtp: TracedClient, target: _Target, tls: TlsPolicy, version: str, fault: str
    ) -> SmtpConnection:
        """Return the connection. Remember its faults and its login for later connections."""
        candidate = target.candidate
        fault = clean_text(fault)[:MAX_FAULT_CHARACTERS]
        connection = self._take_over(smtp, self._extensions(smtp, candidate.host), version, fault)
        connection.on_chunking_refused = lambda: self._servers.chunking.remember(
            candidate.host, "refused", asyncio.get_running_loop().time()
        )
        connection.on_group_unanswered = lambda: self._servers.pipelining.remember(
            candidate.host, "unanswered", asyncio.get_running_loop().time()
        )
        connection.tls_policy = tls.name
        connection.server = str(candidate)
        connection.on_ended = self._servers.logins.watch(candidate.host, target.login)
        connection.has_login = lambda: bool(target.login or self._servers.logins.of(candidate.host))
        if version and tls.resumes:
            peer = smtp.get_transport_info("ssl_object")
            connection.is_resumed = bool(peer.session_reused)
            now = asyncio.get_running_loop().time()
            self._servers.sessions.keep(self._session_key(candidate, tls), peer, now)
        connection.on_tls_wanted = lambda: self._servers.tls.forget(candidate.host)
        return connection

    def _extensions(self, smtp: aiosmtplib.SMTP, host: Host) -> Extensions:
        answer = smtp.last_ehlo_response
        offered = parse_extensions(answer.message if answer is not None else "")
        now = asyncio.get_running_loop().time()
        return self._servers.usable(offered, host, now)

    def _take_over(
        self, smtp: aiosmtplib.SMTP, extensions: Extensions, version: str, fault: str
    ) -> SmtpConnection:
        transport, protocol = smtp.transport, smtp.protocol
        if transport is None or protocol is None or transport.is_closing():
            smtp.close()
            raise ConnectionError("The server closed the connection after EHLO")
        connection = SmtpConnection(
            extensions, version, self._timeouts, self._failpoints, tls_fault=fault
        )
        connection.opener = smtp
        transport.set_protocol(connection)
        connection.connection_made(transport)
        return connection
