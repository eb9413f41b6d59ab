"""Opens a connection to a site, at the first address that works.

After every failure before the first transaction, the next address is tried. After the last address
of a host, the next host is tried. These are failures: the connect is refused or fails, the server
sends a refusal as its greeting or as its reply to EHLO, the server does not answer, or the
connection breaks.

Owns: the openings that are in progress, the reports to the history of addresses. Does not own: the
addresses (dns/site_addresses.py), the order of addresses (core/routing/candidates.py), the number
of connections (core/pool/planner.py). Guarantees: open() never raises for a remote fault. After
OPENING_S or MAX_REFUSALS refusals, no further address is tried.
"""

from __future__ import annotations

import asyncio
import logging
import math
import socket
from collections.abc import Sequence
from typing import Final, Protocol

from services.deliver.core.attempt.results import (
    SERVICE_NOT_READY,
    ConnectFault,
    NoConnection,
    NoLogin,
    NoSource,
    Refusal,
)
from services.deliver.core.routing.candidates import AddressHistory, Candidate, Failure
from services.deliver.core.routing.sites import Host, Site
from services.deliver.core.sources.table import SYSTEM, Source
from services.deliver.core.tls.policy import HostTls, NoDane, host_tls
from services.deliver.edge.smtp.connecting import Connected
from services.deliver.edge.smtp.connection import SmtpConnection
from services.deliver.edge.tracing.dialog import Dialog
from shared.smtp.remote_text import clean_text

log = logging.getLogger(__name__)

# After this time, an opening tries no further address. A message waits for a connection for at most
# the same time. The next opening knows the addresses that have failed.
OPENING_S: Final = 120.0
# After this number of refusals, an opening tries no further address. If a large provider is busy,
# it refuses connections at every address.
MAX_REFUSALS: Final = 10


class Opener(Protocol):
    """Opens connections. A remote fault is a return value, never an exception."""

    def refusal(self, host: Host) -> NoLogin | None:
        """Return why no connection to this host should be opened now; None if one may be opened."""
        ...

    async def connect(self, candidates: Sequence[Candidate], within_s: float) -> Connected:
        """Connect to the first of at most two addresses that accepts."""
        ...

    async def open(
        self,
        candidate: Candidate,
        sock: socket.socket,
        tls: HostTls,
        dialog: Dialog | None = None,
    ) -> SmtpConnection | ConnectFault:
        """Make a connected socket into a connection that is ready for transactions."""
        ...

    def from_source(self, source: Source) -> Opener:
        """Return an opener of connections from this source."""
        ...


class Finder(Protocol):
    """Finds the addresses of a site."""

    async def candidates(self, site: Site) -> list[Candidate] | ConnectFault:
        """Return the addresses in the order of the RFCs, or why none was found. Raises nothing."""
        ...


class HostPolicies(Protocol):
    """Decides how connections to a server use TLS."""

    async def host_tls(self, site: Site, host: Host) -> HostTls:
        """Return the policy of one server of a site. Raises nothing."""
        ...


class AnyTls:
    """Uses opportunistic TLS unless the site requires more. Looks up no policies."""

    async def host_tls(self, site: Site, host: Host) -> HostTls:
        """Return the policy of one server of a site."""
        return host_tls(site.tls, host.name, NoDane())


class SiteHosts:
    """The hosts of one site."""

    def __init__(
        self,
        site: Site,
        opener: Opener,
        finder: Finder,
        history: AddressHistory,
        policies: HostPolicies | None = None,
        *,
        source: Source = SYSTEM,
    ) -> None:
        """`opener` opens connections from `source`."""
        self._source = source
        self._site = site
        self._opener = opener
        self._finder = finder
        self._history = history
        self._policies = policies or AnyTls()
        self._loop = asyncio.get_running_loop()
        self._connected: dict[SmtpConnection, Candidate] = {}

    async def open(self, dialog: Dialog | None = None) -> SmtpConnection | ConnectFault:
        """Open a connection to any host, or return why none could be opened.

        `dialog` shows the opening to operators.
        """
        opened = await self._open(dialog)
        if dialog is not None and not isinstance(opened, SmtpConnection):
            dialog.said(f"no connection: {_reason_of(opened)}")
        return opened

    async def _open(self, dialog: Dialog | None) -> SmtpConnection | ConnectFault:
        for host in self._site.hosts:
            if (refused := self._opener.refusal(host)) is not None:
                return refused
        until = self._loop.time() + OPENING_S
        found = await self._finder.candidates(self._site)
        if not isinstance(found, list):
            return found
        found = [each for each in found if self._source.reaches(each.ip)]
        if not found:
            return self._wrong_family()
        faults: list[ConnectFault] = []
        while found and (not faults or self._loop.time() < until):
            if sum(isinstance(fault, Refusal) for fault in faults) >= MAX_REFUSALS:
                break
            chosen = self._history.take_next(found, self._loop.time())
            # The first address gets its full time limit, even if that is longer than OPENING_S.
            within_s = until - self._loop.time() if faults else math.inf
            opened = await self._try(chosen, found, within_s, dialog)
            if isinstance(opened, SmtpConnection):
                return opened
            # If a smart host refuses the login, its other addresses would refuse the login, too.
            if isinstance(opened, NoSource | NoLogin):
                return opened
            faults.append(opened)
        # Return a refusal rather than a failed connect, because the reply of a server explains
        # more.
        said = next((fault for fault in faults if isinstance(fault, Refusal)), None)
        return said or (faults[-1] if faults else NoConnection("the site has no address"))

    def pushed_back(self, connection: SmtpConnection) -> None:
        """Record that a server wants fewer connections. The next connection uses another host."""
        candidate = self._connected.get(connection)
        if candidate is not None:
            self._history.failed(candidate, Failure.PUSHED_BACK, self._loop.time())

    def closed(self, connection: SmtpConnection) -> None:
        """Forget a connection."""
        self._connected.pop(connection, None)

    async def _try(
        self,
        chosen: Sequence[Candidate],
        left: list[Candidate],
        within_s: float,
        dialog: Dialog | None,
    ) -> SmtpConnection | ConnectFault:
        """Try one address or a pair.

        An address that was not tried is put back into `left`.
        """
        if dialog is not None:
            dialog.reaches(str(chosen[0]))
            dialog.said("connecting to " + " or ".join(map(str, chosen)))
        try:
            connected = await self._opener.connect(chosen, within_s)
        except Exception as error:
            return self._own_fault(chosen[0], error)
        self._note(connected)
        if dialog is not None:
            _show_faults(dialog, connected)
        candidate, sock = connected.candidate, connected.sock
        if sock is None and connected.source_fault:
            return NoSource(clean_text(connected.source_fault), is_unavailable=True)
        if candidate is None or sock is None:
            failed, reason = connected.faults[-1]
            return NoConnection(clean_text(f"{failed}: {reason}"))
        failed_ones = {failed for failed, _ in connected.faults}
        left[:0] = [other for other in chosen if other != candidate and other not in failed_ones]
        try:
            tls = await self._policies.host_tls(self._site, candidate.host)
            opened = await self._opener.open(candidate, sock, tls, dialog)
        except Exception as error:
            return self._own_fault(candidate, error)
        if isinstance(opened, SmtpConnection):
            self._connected[opened] = candidate
            self._history.worked(candidate, self._loop.time())
        elif not isinstance(opened, NoLogin):
            self._history.failed(candidate, _failure_of(opened), self._loop.time())
        return opened

    def _wrong_family(self) -> NoSource:
        has, lacks = ("IPv4", "IPv6") if self._source.ipv4 else ("IPv6", "IPv4")
        return NoSource(
            f"The source {self._source.name} has no {lacks} address, and the servers of "
            f"{self._site.name} have no {has} address"
        )

    def _note(self, connected: Connected) -> None:
        now = self._loop.time()
        for candidate, _ in connected.faults:
            self._history.failed(candidate, Failure.UNREACHABLE, now)
        if connected.slower is not None:
            self._history.failed(connected.slower, Failure.SLOW, now)

    def _own_fault(self, candidate: Candidate, error: Exception) -> NoConnection:
        # A fault of our code must not leave the messages of this site waiting.
        log.exception("opening a connection failed", extra={"host": candidate.host.name})
        return NoConnection(clean_text(f"{candidate}: {type(error).__name__}"))


def _failure_of(fault: ConnectFault) -> Failure:
    is_busy = isinstance(fault, Refusal) and fault.reply.code == SERVICE_NOT_READY
    return Failure.PUSHED_BACK if is_busy else Failure.REFUSED


def _reason_of(fault: ConnectFault) -> str:
    return str(fault.reply) if isinstance(fault, Refusal) else fault.reason


def _show_faults(dialog: Dialog, connected: Connected) -> None:
    for failed, reason in connected.faults:
        dialog.said(f"{failed}: {reason}")
    if connected.candidate is not None and connected.sock is not None:
        name = connected.sock.getsockname()
        dialog.reaches(str(connected.candidate), str(name[0]))
