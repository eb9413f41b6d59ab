"""Connects a socket from a source to one address, or to the faster of two addresses (RFC 8305).

Owns: the race between the two address families of one host, binding to the source, and the
distinction between a fault of the source address and a fault of the process. Does not own: the
choice of addresses (core/routing/candidates.py), the dialog on the connection (opening.py).
Guarantees: a remote fault is a return value and not an exception; every socket except the returned
socket is closed; a socket is connected only from an address of its source.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import sys
from collections.abc import Iterable, Sequence
from typing import Final

from msgspec import Struct

from services.deliver.core.routing.candidates import Candidate
from services.deliver.core.sources.table import SYSTEM, Source

# The delay between the first connect and the connect over the second family (RFC 8305, 5). If the
# first connect fails earlier, the second connect starts at once.
ATTEMPT_DELAY_S: Final = 0.25
# From linux/in.h. The socket module defines this name from Python 3.12 on.
_IP_BIND_ADDRESS_NO_PORT: Final = 24
# These errors concern the address. Other errors concern the process, for example if no file
# descriptor is free.
_OF_ADDRESS: Final = (errno.EADDRNOTAVAIL, errno.EACCES, errno.EPERM, errno.EAFNOSUPPORT)


class SourceUnavailable(OSError):
    """A socket could not be bound to a source."""


class Connected(Struct, frozen=True):
    """The result of a connect. `sock` is connected to `candidate`.

    `sock` and `candidate` are None if no address accepted the connection.

    `faults` contains the addresses that failed, and the reasons. `slower` is an address that was
    tried earlier than `candidate` and has not accepted yet. `source_fault` is the reason why no
    socket could be bound to our own address. A source fault does not mean that the server's address
    has failed.
    """

    candidate: Candidate | None
    sock: socket.socket | None
    faults: tuple[tuple[Candidate, str], ...] = ()
    slower: Candidate | None = None
    source_fault: str = ""


_Attempts = dict["asyncio.Task[socket.socket]", Candidate]


async def connect(
    candidates: Sequence[Candidate], timeout_s: float, source: Source = SYSTEM
) -> Connected:
    """Connect from a source to one of at most two addresses. Each connect may take `timeout_s`."""
    loop = asyncio.get_running_loop()
    attempts: _Attempts = {}
    winner: asyncio.Task[socket.socket] | None = None
    try:
        for candidate in candidates:
            attempt = connect_one(candidate, timeout_s, source)
            attempts[loop.create_task(attempt)] = candidate
            is_last = len(attempts) == len(candidates)
            winner = await _first_success(attempts, None if is_last else ATTEMPT_DELAY_S)
            if winner is not None:
                break
        return _result(attempts, winner)
    finally:
        _abandon(task for task in attempts if task is not winner)


def bind(sock: socket.socket, local_ip: str) -> None:
    """Bind a socket to a local address. The system chooses the port when the socket connects.

    Raises SourceUnavailable.
    """
    if sys.platform == "linux":
        # Without this option, a connection occupies its local port for all destinations, and only
        # 28,000 ports are available.
        sock.setsockopt(socket.IPPROTO_IP, _IP_BIND_ADDRESS_NO_PORT, 1)
    try:
        sock.bind((local_ip, 0))
    except OSError as error:
        if error.errno in _OF_ADDRESS:
            raise SourceUnavailable(error.errno, f"{local_ip}: {error.strerror}") from None
        raise


def bind_fault(local_ip: str) -> str:
    """Return why no socket can be bound to this address, or "" if a socket can be bound."""
    family = socket.AF_INET6 if ":" in local_ip else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as sock:
            bind(sock, local_ip)
    except SourceUnavailable as error:
        return str(error.strerror)
    except OSError as error:
        # EAFNOSUPPORT: the host lacks the address family. Other errors, such as no free file
        # descriptor, say nothing about the address.
        return str(error.strerror) if error.errno == errno.EAFNOSUPPORT else ""
    return ""


async def connect_one(
    candidate: Candidate, timeout_s: float, source: Source = SYSTEM
) -> socket.socket:
    """Connect a socket to an address. Raises OSError, or SourceUnavailable if the source failed."""
    family = socket.AF_INET6 if candidate.is_ipv6 else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        if local_ip := source.local(candidate.ip):
            bind(sock, local_ip)
        async with asyncio.timeout(timeout_s):
            await asyncio.get_running_loop().sock_connect(sock, _socket_address(candidate))
    except BaseException:
        sock.close()
        raise
    return sock


async def _first_success(
    attempts: _Attempts, limit_s: float | None
) -> asyncio.Task[socket.socket] | None:
    """Return the first attempt that succeeds, or None if none succeeds within the limit."""
    loop = asyncio.get_running_loop()
    until = None if limit_s is None else loop.time() + limit_s
    while True:
        winner = next((task for task in attempts if task.done() and not task.exception()), None)
        pending = [task for task in attempts if not task.done()]
        left_s = None if until is None else until - loop.time()
        if winner is not None or not pending or (left_s is not None and left_s <= 0):
            return winner
        await asyncio.wait(pending, timeout=left_s, return_when=asyncio.FIRST_COMPLETED)


def _result(attempts: _Attempts, winner: asyncio.Task[socket.socket] | None) -> Connected:
    faults: list[tuple[Candidate, str]] = []
    slower: Candidate | None = None
    source_fault = ""
    for task, candidate in attempts.items():
        if task is winner:
            break  # the addresses after the winner have not failed
        error = task.exception() if task.done() else None
        if error is None:
            slower = candidate
        elif isinstance(error, SourceUnavailable):
            source_fault = str(error.strerror)
        elif isinstance(error, OSError):  # TimeoutError is an OSError
            faults.append((candidate, str(error) or "no answer to the connect in time"))
        else:
            raise error
    if winner is None:
        return Connected(None, None, tuple(faults), source_fault=source_fault)
    return Connected(attempts[winner], winner.result(), tuple(faults), slower)


def _abandon(tasks: Iterable[asyncio.Task[socket.socket]]) -> None:
    for task in tasks:
        task.add_done_callback(_close_result)
        task.cancel()


def _close_result(task: asyncio.Task[socket.socket]) -> None:
    if not task.cancelled() and task.exception() is None:
        task.result().close()


def _socket_address(candidate: Candidate) -> tuple[str, int] | tuple[str, int, int, int]:
    if not candidate.is_ipv6:
        return candidate.ip, candidate.host.port
    # "%" separates the interface of a link-local address (RFC 4007, 11).
    ip, _, scope = candidate.ip.partition("%")
    return ip, candidate.host.port, 0, int(scope or 0)
