"""Accepts connections, and determines the address of each peer before the connection is served.

This module owns the listening sockets, the PROXY header at the beginning of a connection, the
limits on connections, and the handshake of implicit TLS. It does not own the dialog
(connection.py), the counts (core/smtp_server/connection_limiter.py) and the syntax of the header
(core/smtp_server/proxy_header.py).

The listener accepts connections itself and does not use loop.create_server, because no byte after a
PROXY header may be read. The next bytes in the same TCP segment may begin a TLS handshake, and a
transport would read them, too. Therefore a connection is also counted from its beginning, and not
only from the end of its TLS handshake. If a connection is refused before TLS, it gets a 421. On a
port with implicit TLS, however, it is closed without a reply.

A PROXY header is accepted only from a listed proxy, and every connection of a listed proxy must
begin with a PROXY header. Each slot is released, no matter how its connection ends.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import ssl
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

from msgspec import Struct

from services.ingest.core.smtp_server import proxy_header, replies
from services.ingest.core.smtp_server.connection_limiter import (
    ConnectionLimiter,
    ConnectionSlot,
    LimitExceeded,
)
from services.ingest.core.smtp_server.rates import is_listed, plain_address
from services.ingest.edge.smtp_server.context import ServerContext
from shared.smtp.reply import Reply, encode_reply

log = logging.getLogger(__name__)

# The highest number of connections that wait until they are accepted. This number is high, because
# bulk senders open many connections at once.
BACKLOG: Final = 1_024
# At most this many connections are accepted before open connections are served again.
ACCEPTS_PER_TURN: Final = 64
# If the system has no free descriptor or no memory for a connection, accepting pauses for this
# time.
_REST_S: Final = 1.0
# The size of the kernel's buffer for replies that a peer has not read. The buffer can be small,
# because replies are short.
_SEND_BUFFER_BYTES: Final = 65_536
_TLS_CLOSE_S: Final = 10.0
_EXHAUSTED: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})

# These errors mean that this machine does not have the address. The list of all addresses has IPv6
# addresses even on a machine without IPv6.
_NOT_HERE: Final = frozenset({errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL})

# The reasons, other than exceeded limits, for which a connection is refused.
HEADER: Final = "proxy header"
HANDSHAKE: Final = "handshake"

Serve = Callable[[ConnectionSlot, bool], asyncio.Protocol]


class Arrived(Struct, frozen=True):
    """An accepted connection and its address. `is_implicit` is True if TLS begins at once (implicit
    TLS)."""

    sock: socket.socket
    address: str
    is_implicit: bool


class Listener:
    """The listening sockets of one server. Must be used in one event loop only."""

    def __init__(
        self,
        context: ServerContext,
        limiter: ConnectionLimiter,
        proxies: Sequence[str],
        serve: Serve,
    ) -> None:
        """`serve` creates the protocol of a connection. The connection_lost() of this protocol must
        release the slot."""
        self._context = context
        self._limiter = limiter
        self._proxies = tuple(proxies)
        self._serve = serve
        self._loop = asyncio.get_running_loop()
        self._listening: list[socket.socket] = []
        self._pending: set[asyncio.Task[None]] = set()

    def listen(self, host: str, port: int, is_implicit: bool, is_shared: bool = False) -> list[str]:
        """Listen on every address of `host` that this machine has. Return these addresses as
        address:port.

        If `host` is "", listen on all addresses. If `is_shared` is True, other processes may listen
        on the same addresses at the same time. For port 0, the system chooses a free port for each
        address. Raises OSError.
        """
        missing, bound = None, []
        found = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        for family, _, _, _, name in dict.fromkeys(found):
            try:
                sock = _listening_socket(family, name, is_shared)
            except OSError as error:
                if error.errno not in _NOT_HERE:
                    raise
                missing = error
                continue
            self._listening.append(sock)
            self._loop.add_reader(sock, self._accept, sock, is_implicit)
            address, number, *_ = sock.getsockname()
            bound.append(f"[{address}]:{number}" if ":" in address else f"{address}:{number}")
        if missing is not None and not bound:
            raise missing
        return bound

    def close(self) -> None:
        """Stop accepting connections, and close the connections that are not served yet."""
        for sock in self._listening:
            self._loop.remove_reader(sock)
            sock.close()
        self._listening.clear()
        for task in list(self._pending):
            task.cancel()

    # -- inside

    def _accept(self, listening: socket.socket, is_implicit: bool) -> None:
        for _ in range(ACCEPTS_PER_TURN):
            try:
                sock, name = listening.accept()
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                if error.errno not in _EXHAUSTED:
                    continue  # the peer closed the connection too early
                log.error(
                    "SMTP server: a connection cannot be accepted", extra={"reason": str(error)}
                )
                self._loop.remove_reader(listening)
                self._loop.call_later(_REST_S, self._accept_again, listening, is_implicit)
                return
            sock.setblocking(False)
            self._arrived(Arrived(sock, plain_address(str(name[0])), is_implicit))

    def _accept_again(self, listening: socket.socket, is_implicit: bool) -> None:
        if listening in self._listening:
            self._loop.add_reader(listening, self._accept, listening, is_implicit)

    def _arrived(self, arrived: Arrived) -> None:
        slot = self._limiter.try_acquire()
        if slot is None:
            self._turn_away(arrived, LimitExceeded.ALL)
            arrived.sock.close()
            return
        task = self._loop.create_task(self._serve_arrived(arrived, slot))
        slot.evict = task.cancel
        self._pending.add(task)
        task.add_done_callback(self._served)

    def _served(self, task: asyncio.Task[None]) -> None:
        self._pending.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("SMTP server: a connection crashed", exc_info=error)

    async def _serve_arrived(self, arrived: Arrived, slot: ConnectionSlot) -> None:
        is_served = False
        try:
            address = arrived.address
            if is_listed(self._proxies, address):
                address = await self._address_behind(arrived)
            if not address:
                return
            excess = slot.try_assign(address, self._loop.time())
            if excess is not None:
                self._turn_away(arrived, excess)
                return
            is_served = await self._connect(arrived, slot)
        finally:
            if not is_served:
                slot.release()
                arrived.sock.close()

    async def _connect(self, arrived: Arrived, slot: ConnectionSlot) -> bool:
        tls: dict[str, Any] = {}
        if arrived.is_implicit:
            tls = {
                "ssl": self._context.tls(),
                "ssl_handshake_timeout": self._context.limits.handshake_timeout_s,
                "ssl_shutdown_timeout": _TLS_CLOSE_S,
            }
        factory = partial(self._serve, slot, arrived.is_implicit)
        try:
            await self._loop.connect_accepted_socket(factory, arrived.sock, **tls)
        except (OSError, ssl.SSLError) as error:
            self._context.turned_away.add(1, HANDSHAKE)
            log.info("TLS handshake failed", extra={"peer": slot.address, "reason": str(error)})
            return False
        return True

    async def _address_behind(self, arrived: Arrived) -> str:
        """Return the address in the PROXY header. For a LOCAL header, return the address of the
        proxy itself.

        Return "" if the connection is refused.
        """
        try:
            async with asyncio.timeout(self._context.limits.handshake_timeout_s):
                header = await self._read_header(arrived.sock)
        except TimeoutError:
            header = proxy_header.Fault("the header was not complete in time")
        except OSError as error:
            header = proxy_header.Fault(str(error))
        match header:
            case proxy_header.Proxied(address=address):
                return address
            case proxy_header.Local():
                return arrived.address
        self._context.turned_away.add(1, HEADER)
        log.warning(
            "connection of a proxy refused",
            extra={"proxy": arrived.address, "reason": header.reason},
        )
        return ""

    async def _read_header(
        self, sock: socket.socket
    ) -> proxy_header.Proxied | proxy_header.Local | proxy_header.Fault:
        data = b""
        while isinstance(found := proxy_header.parse(data), proxy_header.More):
            part = await self._loop.sock_recv(sock, found.missing_bytes)
            if not part:
                return proxy_header.Fault("it was closed before its header was complete")
            data += part
        return found

    def _turn_away(self, arrived: Arrived, excess: LimitExceeded) -> None:
        self._context.turned_away.add(1, excess)
        if not arrived.is_implicit:
            _say(arrived.sock, replies.LIMIT_REPLIES[excess])


def _say(sock: socket.socket, reply: Reply) -> None:
    try:
        sock.send(encode_reply(reply))
    except OSError:
        return  # the peer has closed the connection


def _listening_socket(family: int, name: Any, is_shared: bool) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if is_shared:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        # Accepted sockets inherit the next two options from this socket.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.setblocking(False)
        sock.bind(name)
        sock.listen(BACKLOG)
    except OSError:
        sock.close()
        raise
    return sock
