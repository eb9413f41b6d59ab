"""Clients behind a load balancer: HAProxy and hand-made headers with a real front door."""

from __future__ import annotations

import json
import select
import smtplib
import socket
import ssl
import subprocess
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest
from msgspec import Struct

from local.parts import ports
from local.parts.packages import find_program
from shared.registry.client import Client
from tests.support.door_peers import (
    Peer,
    login,
    number,
    open_connections,
    secured,
)
from tests.support.front_door import Door, running_door, trusting
from tests.support.patience import PATIENCE_S
from tests.support.proxy_headers import LOCAL, TCP4, VERSION_1, addresses, header, told
from tests.support.received import Received
from tests.support.smtp_peers import wait_until

# One front door for the whole module, even if the tests run in several processes.
pytestmark = pytest.mark.xdist_group("proxied-door")

LISTED, UNLISTED = "127.0.0.2", "127.0.0.3"
AT_HOME, AWAY = "127.0.0.9", "127.0.0.8"  # the registered address of the client, and another
DOMAIN = "news.proxied.example"
NAME = "proxied-client"
CLIENT = Client(NAME, DOMAIN, "back@proxied.example.org", "proxied-mailing", ips=(AT_HOME,))
MOST_OF_ADDRESS = 3


@pytest.fixture(scope="module")
def door(kafka_bootstrap: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    with running_door(
        kafka_bootstrap,
        tmp_path_factory.mktemp("proxied"),
        CLIENT,
        smtp_proxies=json.dumps([f"{LISTED}/32"]),
        smtp_max_failed_logins="1",
        smtp_max_connections_per_address=str(MOST_OF_ADDRESS),
    ) as running:
        yield running


class Balancer(Struct, frozen=True):
    """HAProxy with four ports: two per port of the front door, from two addresses, one listed."""

    listed: dict[bool, int]  # by use of implicit TLS
    unlisted: dict[bool, int]
    stats: Path


_BACKENDS = """
global
    stats socket {stats} mode 600
defaults
    mode tcp
    timeout connect 120s
    timeout client 120s
    timeout server 120s
    timeout check 120s
listen listed
    bind 127.0.0.1:{0}
    option smtpchk EHLO check.example
    server door 127.0.0.1:{port} send-proxy-v2 source {listed} check inter 300ms
listen listed-tls
    bind 127.0.0.1:{1}
    server door 127.0.0.1:{tls_port} send-proxy-v2 source {listed}
listen unlisted
    bind 127.0.0.1:{2}
    server door 127.0.0.1:{port} send-proxy-v2 source {unlisted}
listen unlisted-tls
    bind 127.0.0.1:{3}
    server door 127.0.0.1:{tls_port} send-proxy-v2 source {unlisted}
"""


@pytest.fixture(scope="module")
def balancer(door: Door, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Balancer]:
    folder = tmp_path_factory.mktemp("haproxy")
    config, stats = folder / "haproxy.cfg", folder / "stats"
    four = ports.free_ports(4)
    text = _BACKENDS.format(
        *four,
        stats=stats,
        port=door.port,
        tls_port=door.tls_port,
        listed=LISTED,
        unlisted=UNLISTED,
    )
    config.write_text(text)
    process = subprocess.Popen([str(find_program("haproxy")), "-db", "-q", "-f", str(config)])
    try:
        wait_until(lambda: answers(stats) or process.poll() is not None, "HAProxy answers")
        assert process.poll() is None
        yield Balancer({False: four[0], True: four[1]}, {False: four[2], True: four[3]}, stats)
    finally:
        process.terminate()
        process.wait(PATIENCE_S)


def answers(stats: Path) -> bool:
    """Whether HAProxy is at work: it binds the socket before it listens on all its ports."""
    with socket.socket(socket.AF_UNIX) as sock:
        try:
            sock.connect(str(stats))
        except OSError:
            return False
        sock.sendall(b"show info\n")
        return bool(sock.recv(1))


def check_status(balancer: Balancer) -> str:
    """The result of HAProxy's last health check of the front door."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(str(balancer.stats))
        sock.sendall(b"show stat\n")
        with sock.makefile() as answer:
            names = answer.readline().lstrip("# ").strip().split(",")
            rows = [dict(zip(names, line.split(","), strict=False)) for line in answer]
    row = next(row for row in rows if (row.get("pxname"), row.get("svname")) == ("listed", "door"))
    return row["check_status"]


def message(name: str) -> bytes:
    return (
        f"From: News <news@{DOMAIN}>\r\nTo: {name}@r.example.net\r\nSubject: {name}\r\n"
        f"Message-ID: <{name}@{DOMAIN}>\r\n\r\nHello\r\n"
    ).encode()


@pytest.mark.parametrize("is_implicit", [False, True], ids=["STARTTLS", "implicit TLS"])
def test_behind_haproxy_a_client_is_known_by_its_own_address(
    door: Door, balancer: Balancer, is_implicit: bool
) -> None:
    name = f"behind-{is_implicit}".lower()
    with secured(balancer.listed[is_implicit], AT_HOME, is_implicit) as smtp:
        assert login(smtp, NAME)[0] == 235
        smtp.sendmail(f"news@{DOMAIN}", f"{name}@r.example.net", message(name))
    with Received(door.bootstrap) as received:
        (found,) = received.by_id(f"<{name}@{DOMAIN}>")
    assert found.envelope.origin.peer == AT_HOME


def test_an_allow_list_and_a_lock_out_mean_the_client_and_not_the_proxy(
    door: Door, balancer: Balancer
) -> None:
    with secured(balancer.listed[False], AWAY) as smtp:
        assert login(smtp, NAME) == (
            535,
            "5.7.1 Your address is not among those registered for this client",
        )
    with secured(balancer.listed[True], AWAY, is_implicit=True) as smtp:
        assert login(smtp, NAME)[0] == 421
    with secured(balancer.listed[False], AT_HOME) as smtp:
        assert login(smtp, NAME)[0] == 235


def test_the_health_check_of_haproxy_is_greeted(balancer: Balancer) -> None:
    # L7: it has read the greeting and the reply to its EHLO.
    wait_until(lambda: check_status(balancer) == "L7OK", "HAProxy finds the door well")


def test_haproxy_from_an_unlisted_address_gets_no_session(balancer: Balancer) -> None:
    with Peer(balancer.unlisted[False], AT_HOME) as peer:
        assert peer.line().startswith("554 5.5.1 ")
        assert peer.line() == ""
    with pytest.raises((ssl.SSLError, ConnectionError)):
        secured(balancer.unlisted[True], AT_HOME, is_implicit=True)


def test_a_header_and_the_hello_of_tls_may_come_in_one_segment(door: Door) -> None:
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = trusting().wrap_bio(incoming, outgoing)
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    with Peer(door.tls_port, LISTED, told(AT_HOME) + outgoing.read()) as peer:
        greeting = b""
        while not greeting:
            incoming.write(peer.sock.recv(4_096))
            try:
                tls.do_handshake()
                greeting = tls.read()
            except ssl.SSLWantReadError:
                pass
            peer.sock.sendall(outgoing.read())
    assert greeting.startswith(b"220 ")


def test_a_header_may_come_byte_by_byte(door: Door) -> None:
    with Peer(door.port, LISTED) as peer:
        for byte in told("192.0.2.40"):
            peer.sock.sendall(bytes([byte]))
        assert peer.reply().startswith("220 ")
        assert peer.ask("EHLO client.example").startswith("250 ")


def test_connections_are_counted_by_the_address_in_the_header(door: Door) -> None:
    peers = [Peer(door.port, LISTED, told("192.0.2.50")) for _ in range(MOST_OF_ADDRESS)]
    try:
        assert all(peer.reply().startswith("220 ") for peer in peers)
        with Peer(door.port, LISTED, told("192.0.2.50")) as one_more:
            assert one_more.reply().startswith("421 4.7.0 Too many connections from your address")
        with Peer(door.port, LISTED, told("192.0.2.51")) as other:
            assert other.reply().startswith("220 ")
    finally:
        for peer in peers:
            peer.sock.close()


REFUSED = {
    "version 1": (VERSION_1, "PROXY version 1"),
    "no header": (b"EHLO client.example\r\n", "no header of PROXY version 2"),
    "unknown family": (header(0x00, b""), "AF_UNSPEC"),
    "udp": (header(0x12, addresses("192.0.2.60")), "UDP"),
    "unix": (header(0x31, bytes(216)), "UNIX socket"),
    "too long": (header(TCP4, bytes(4_097)), "4097 bytes of addresses and TLVs"),
}


@pytest.mark.parametrize(("data", "reason"), REFUSED.values(), ids=REFUSED)
def test_a_listed_proxy_without_a_usable_header_is_closed_and_the_reason_is_logged(
    door: Door, data: bytes, reason: str
) -> None:
    with Peer(door.port, LISTED, data) as peer:
        assert peer.line() == ""
    assert reason in door.process.log.read_text()


def test_a_listed_proxy_that_stays_silent_or_slow_is_closed(
    kafka_bootstrap: str, tmp_path: Path
) -> None:
    # A door of its own: on a busy machine other peers need longer than that.
    proxies = json.dumps([f"{LISTED}/32"])
    with (
        running_door(
            kafka_bootstrap, tmp_path, CLIENT, smtp_proxies=proxies, smtp_handshake_timeout_s="3"
        ) as door,
        Peer(door.port, LISTED) as silent,
        Peer(door.tls_port, LISTED) as slow,
    ):
        rest = iter(told("192.0.2.70")[:-1])
        while not select.select([slow.sock], [], [], 0.2)[0]:
            slow.sock.sendall(bytes(islice(rest, 1)))  # nothing more after the last one
        assert slow.line() == ""
        assert silent.line() == ""
        wait_until(lambda: not open_connections(door), "no place is taken any more")
        assert number(door, "sluice_ingest_door_turned_away") >= 2


def test_local_is_greeted_under_the_proxys_own_address(door: Door) -> None:
    with Peer(door.port, LISTED, LOCAL) as peer:
        assert peer.reply().startswith("220 ")
        assert peer.ask("QUIT").startswith("221 ")


@pytest.mark.parametrize("spoofed", [told(AT_HOME), VERSION_1], ids=["version 2", "version 1"])
def test_a_header_after_the_greeting_changes_no_address(door: Door, spoofed: bytes) -> None:
    with Peer(door.port, UNLISTED) as peer:
        assert peer.reply().startswith("220 ")
        peer.sock.sendall(spoofed)
        assert peer.reply()[:1] == "5"
    # The same in TLS, where a client could continue: its address is still not registered.
    with secured(door.port, "127.0.0.4") as smtp:
        assert smtp.docmd("PROXY", f"TCP4 {AT_HOME} 192.0.2.25 51000 25")[0] == 500
        assert login(smtp, NAME)[0] in {535, 421}
        with pytest.raises(smtplib.SMTPException):
            smtp.sendmail(f"news@{DOMAIN}", "spoofed@r.example.net", message("spoofed"))
