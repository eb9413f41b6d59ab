"""Deliberately slow peers of a front door: each is ended in time."""

from __future__ import annotations

import select
import socket
import ssl
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import cycle

import pytest

from tests.support.door_peers import Peer, open_connections
from tests.support.front_door import trusting
from tests.support.limited_door import SENDER, Limited
from tests.support.smtp_peers import wait_until

# One front door for this folder, even if the tests run in several processes.
pytestmark = pytest.mark.xdist_group("limited-door")
MAX_FLOOD_BYTES = 8_000_000
ATTEMPTS = 5


def drip(peer: Peer, data: bytes) -> str:
    """Send this repeatedly, one byte at a time; return the last line of the front door."""
    with peer:
        for byte in cycle(data):
            if select.select([peer.sock], [], [], 0.1)[0]:
                return peer.line()
            peer.sock.sendall(bytes([byte]))
    raise AssertionError


def logged_in(limited: Limited, source: str) -> Peer:
    """A peer that has logged in; it tries again if the machine was too slow for it."""
    for _ in range(ATTEMPTS):
        peer = Peer(limited.door.port, source)
        with suppress(OSError):
            peer.reply()
            peer.ask("EHLO slow.example")
            if peer.ask("STARTTLS").startswith("220"):
                peer.secure()
                peer.ask("EHLO slow.example")
                # \0limited-slow\0correct-horse-battery
                reply = peer.ask("AUTH PLAIN AGxpbWl0ZWQtc2xvdwBjb3JyZWN0LWhvcnNlLWJhdHRlcnk=")
                if reply.startswith("235"):
                    return peer
        peer.sock.close()
    raise AssertionError("no login in time")


def before_login(limited: Limited) -> str:
    peer = Peer(limited.door.port, "127.0.8.1")
    peer.reply()
    return drip(peer, b"EHLO ")


def busy_before_login(limited: Limited) -> str:
    with Peer(limited.door.port, "127.0.8.2") as peer:
        reply = peer.reply()
        while reply[:1] == "2":
            is_told = select.select([peer.sock], [], [], 0.2)[0]
            reply = peer.line() if is_told else peer.ask("NOOP")
        return reply


def in_a_command(limited: Limited) -> str:
    return drip(logged_in(limited, "127.0.8.3"), b"NOOP ")


def in_a_message(limited: Limited) -> str:
    peer = logged_in(limited, "127.0.8.4")
    peer.ask(f"MAIL FROM:<{SENDER}>")
    peer.ask("RCPT TO:<slow@r.example.net>")
    assert peer.ask("DATA").startswith("354")
    return drip(peer, b"Subject: slow\r\n")


def client_hello() -> bytes:
    outgoing = ssl.MemoryBIO()
    tls = trusting().wrap_bio(ssl.MemoryBIO(), outgoing)
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    return outgoing.read()[:-1] * 2


def in_a_handshake(limited: Limited) -> str:
    peer = Peer(limited.door.port, "127.0.8.5")
    peer.reply()
    peer.ask("EHLO slow.example")
    assert peer.ask("STARTTLS").startswith("220")
    return drip(peer, client_hello()[:200])


def in_an_implicit_handshake(limited: Limited) -> str:
    return drip(Peer(limited.door.tls_port, "127.0.8.6"), client_hello()[:200])


def deaf(limited: Limited) -> str:
    """Request replies and read none, until the front door disconnects.

    The system's buffers may accept all data long after the front door has stopped reading
    (some grow to 32 MB), so only the end counts, not the amount accepted before.
    """
    peer = logged_in(limited, "127.0.8.7")
    peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    peer.ask(f"MAIL FROM:<{SENDER}>")
    peer.sock.settimeout(60)
    sent, block = 0, b"RCPT TO:<a@b.example>\r\n" * 600
    end = time.monotonic() + 60
    try:
        while time.monotonic() < end:
            if sent < MAX_FLOOD_BYTES:
                peer.sock.sendall(block)
                sent += len(block)
            else:
                peer.sock.sendall(b"NOOP\r\n")
                time.sleep(0.1)
    except (ConnectionError, ssl.SSLError):
        return "it was cut off"
    finally:
        peer.sock.close()
    return f"{sent} bytes were taken without a reply being read"


SLOW_PEERS: dict[Callable[[Limited], str], str] = {
    before_login: "421 4.7.0 No login in time",
    busy_before_login: "421 4.7.0 No login in time",
    in_a_command: "421 4.4.2 Idle for too long",
    in_a_message: "421 4.4.2 Too slow",
    in_a_handshake: "",
    in_an_implicit_handshake: "",
    deaf: "it was cut off",
}


def test_slow_peers_are_ended_in_time_with_421_where_it_can_be_said_and_leave_no_trace(
    impatient: Limited,
) -> None:
    with ThreadPoolExecutor(len(SLOW_PEERS)) as pool:
        ends = pool.map(lambda peer: peer(impatient).strip(), SLOW_PEERS)
        assert dict(zip(SLOW_PEERS, ends, strict=True)) == SLOW_PEERS
    wait_until(lambda: not open_connections(impatient.door), "no place is taken any more")
