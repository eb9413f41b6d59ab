"""Accepts the front door's connections, and finds out where each comes from before it is served.

Owns: the listening sockets, the header a proxy puts before a connection, the limits on
connections, the handshake of implicit TLS. Does not own: the dialog (door_connection.py), the
counts (core/crowd.py), what is in a header (core/proxy_header.py).

It accepts by itself and not through loop.create_server, because nothing may be read past a
proxy's header: what follows it in the same segment is the beginning of a handshake, and a
transport would read that along. And a connection then counts from the first moment, not from
the end of its handshake. What is refused before TLS on a port of implicit TLS is closed without
a word; on the others it hears 421.

Promises: only from a listed proxy is a header believed, and nothing but a header; each place in
the crowd is given back, whatever becomes of its connection.
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

from services.ingest.core import proxy_header, replies
from services.ingest.core.access import is_listed, plain_address
from services.ingest.core.crowd import Crowd, Excess, Place
from services.ingest.edge.door import Door
from shared.smtp.reply import Reply, encode_reply

log = logging.getLogger(__name__)

# Sockets that wait to be accepted; bursts of connects are normal for bulk senders.
BACKLOG: Final = 1_024
# After so many the connections that are open get their turn.
ACCEPTS_A_TURN: Final = 64
# How long nothing is accepted after the system refused a descriptor or memory for one.
_REST_S: Final = 1.0
# What the system keeps of replies that a peer does not read; they are short.
_SEND_BUFFER_BYTES: Final = 65_536
_TLS_CLOSE_S: Final = 10.0
_EXHAUSTED: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})

# "Every address" is told with those of IPv6 where the machine has none.
_NOT_HERE: Final = frozenset({errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL})

HEADER: Final = "proxy header"
HANDSHAKE: Final = "handshake"

Serve = Callable[[Place, bool], asyncio.Protocol]


class Arrived(Struct, frozen=True):
    """A connection that was accepted: from which address, whether TLS is its first word."""

    sock: socket.socket
    address: str
    is_implicit: bool


class Listener:
    """The listening sockets of one front door. Use it in one loop."""

    def __init__(self, door: Door, crowd: Crowd, proxies: Sequence[str], serve: Serve) -> None:
        """`serve` makes the protocol of a connection; its connection_lost leaves the place."""
        self._door = door
        self._crowd = crowd
        self._proxies = tuple(proxies)
        self._serve = serve
        self._loop = asyncio.get_running_loop()
        self._listening: list[socket.socket] = []
        self._welcomes: set[asyncio.Task[None]] = set()

    def listen(self, host: str, port: int, is_implicit: bool, is_shared: bool = False) -> None:
        """Listen on every address of `host` ("": all) that there is. Raises OSError.

        `is_shared`: other processes may listen on the same address beside this one.
        """
        missing, has_one = None, False
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
            has_one = True
        if missing is not None and not has_one:
            raise missing

    def close(self) -> None:
        """Accept no more, and let go of those that are not served yet."""
        for sock in self._listening:
            self._loop.remove_reader(sock)
            sock.close()
        self._listening.clear()
        for welcome in list(self._welcomes):
            welcome.cancel()

    # -- inside

    def _accept(self, listening: socket.socket, is_implicit: bool) -> None:
        for _ in range(ACCEPTS_A_TURN):
            try:
                sock, name = listening.accept()
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                if error.errno not in _EXHAUSTED:
                    continue  # it was closed before it was accepted
                log.error("front door: cannot accept", extra={"reason": str(error)})
                self._loop.remove_reader(listening)
                self._loop.call_later(_REST_S, self._accept_again, listening, is_implicit)
                return
            sock.setblocking(False)
            self._arrived(Arrived(sock, plain_address(str(name[0])), is_implicit))

    def _accept_again(self, listening: socket.socket, is_implicit: bool) -> None:
        if listening in self._listening:
            self._loop.add_reader(listening, self._accept, listening, is_implicit)

    def _arrived(self, arrived: Arrived) -> None:
        place = self._crowd.enter()
        if place is None:
            self._turn_away(arrived, Excess.ALL)
            arrived.sock.close()
            return
        welcome = self._loop.create_task(self._welcome(arrived, place))
        place.displace = welcome.cancel
        self._welcomes.add(welcome)
        welcome.add_done_callback(self._welcomed)

    def _welcomed(self, task: asyncio.Task[None]) -> None:
        self._welcomes.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("front door: a connection crashed", exc_info=error)

    async def _welcome(self, arrived: Arrived, place: Place) -> None:
        is_served = False
        try:
            address = arrived.address
            if is_listed(self._proxies, address):
                address = await self._address_behind(arrived)
            if not address:
                return
            excess = place.settle(address, self._loop.time())
            if excess is not None:
                self._turn_away(arrived, excess)
                return
            is_served = await self._connect(arrived, place)
        finally:
            if not is_served:
                place.leave()
                arrived.sock.close()

    async def _connect(self, arrived: Arrived, place: Place) -> bool:
        tls: dict[str, Any] = {}
        if arrived.is_implicit:
            tls = {
                "ssl": self._door.tls(),
                "ssl_handshake_timeout": self._door.limits.handshake_timeout_s,
                "ssl_shutdown_timeout": _TLS_CLOSE_S,
            }
        factory = partial(self._serve, place, arrived.is_implicit)
        try:
            await self._loop.connect_accepted_socket(factory, arrived.sock, **tls)
        except (OSError, ssl.SSLError) as error:
            self._door.counts.turned_away.add(1, HANDSHAKE)
            log.info("no handshake", extra={"peer": place.address, "reason": str(error)})
            return False
        return True

    async def _address_behind(self, arrived: Arrived) -> str:
        """The address a proxy names, its own where it speaks for itself; "" for neither."""
        try:
            async with asyncio.timeout(self._door.limits.handshake_timeout_s):
                header = await self._read_header(arrived.sock)
        except TimeoutError:
            header = proxy_header.Fault("the header did not come whole in time")
        except OSError as error:
            header = proxy_header.Fault(str(error))
        match header:
            case proxy_header.Proxied(address=address):
                return address
            case proxy_header.Local():
                return arrived.address
        self._door.counts.turned_away.add(1, HEADER)
        log.warning(
            "a proxy's connection is refused",
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
                return proxy_header.Fault("it was closed before its header was whole")
            data += part
        return found

    def _turn_away(self, arrived: Arrived, excess: Excess) -> None:
        self._door.counts.turned_away.add(1, excess)
        if not arrived.is_implicit:
            _say(arrived.sock, replies.EXCESS[excess])


def _say(sock: socket.socket, reply: Reply) -> None:
    try:
        sock.send(encode_reply(reply))
    except OSError:
        return  # it has gone


def _listening_socket(family: int, name: Any, is_shared: bool) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if is_shared:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        # Accepted sockets inherit this one and the next.
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
