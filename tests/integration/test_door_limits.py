"""The limits of a front door, set low: connections, rates, and deliberately slow peers."""

from __future__ import annotations

import select
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count, cycle

import pytest
from msgspec import Struct
from msgspec.structs import replace

from shared.registry.client import Client
from shared.registry.store import publish
from shared.registry.store.changes import Changes
from shared.settings.sections import KafkaSettings
from tests.support.certificates import self_signed
from tests.support.door_peers import (
    Peer,
    login,
    open_connections,
    secured,
)
from tests.support.front_door import Door, message, register, running_door, trusting
from tests.support.smtp_peers import wait_until

# One front door for the whole module, even if the tests run in several processes.
pytestmark = pytest.mark.xdist_group("limited-door")

DOMAIN = "news.limited.example"
NAME, RATED, SLOW = "limited-client", "limited-rated", "limited-slow"
SENDER = f"news@{DOMAIN}"
CLIENT = Client(NAME, DOMAIN, "back@limited.example.org", "limited-mailing")
MOST_OF_CLIENT = 4
MESSAGES_A_MINUTE = 3
NEW_A_MINUTE = 12
# More than a test needs to log in, even on a busy machine.
IDLE_S = 5
MAX_FLOOD_BYTES = 8_000_000


class Limited(Struct, frozen=True):
    """The front door, and its clients as registered."""

    door: Door
    clients: dict[str, Client]

    def change(self, name: str, **limits: int) -> None:
        """Publish new limits of a client."""
        changed = replace(self.clients[name], **limits)
        publish.apply(KafkaSettings(bootstrap=self.door.bootstrap), Changes(changed=(changed,)))


@pytest.fixture(scope="module")
def limited(kafka_bootstrap: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Limited]:
    clients = register(
        kafka_bootstrap, CLIENT, replace(CLIENT, name=RATED), replace(CLIENT, name=SLOW)
    )
    with running_door(
        kafka_bootstrap,
        tmp_path_factory.mktemp("limited"),
        smtp_max_connections_per_client=str(MOST_OF_CLIENT),
        smtp_messages_per_minute=str(MESSAGES_A_MINUTE),
        smtp_new_connections_per_minute=str(NEW_A_MINUTE),
        smtp_idle_timeout_s=str(IDLE_S),
        smtp_login_timeout_s=str(IDLE_S),
        smtp_data_timeout_s="3",
        smtp_handshake_timeout_s="3",
    ) as door:
        yield Limited(door, {client.name: client for client in clients})


def test_a_client_has_only_so_many_connections_and_a_lower_limit_holds_for_those_open(
    limited: Limited,
) -> None:
    port = limited.door.port
    several = [secured(port, f"127.0.1.{n}") for n in range(1, MOST_OF_CLIENT + 1)]
    try:
        assert [login(smtp, NAME)[0] for smtp in several] == [235] * MOST_OF_CLIENT
        with secured(port, "127.0.1.20") as one_more:
            code, text = login(one_more, NAME)
            assert (code, text[:37]) == (421, "4.7.0 Too many connections of this cl")
        several.pop().quit()

        def is_let_in() -> bool:
            smtp = secured(port, "127.0.2.1")
            if login(smtp, NAME)[0] == 235:
                several.append(smtp)
            return several[-1] is smtp

        wait_until(is_let_in, "the place that was left is free", 20)
        limited.change(NAME, max_connections=MOST_OF_CLIENT - 1)
        # Each is kept busy, so that none ends because it is idle.
        ended: list[bytes] = []

        def has_ended() -> bool:
            several.append(several.pop(0))
            code, text = several[-1].mail(SENDER)
            if code == 421:
                ended.append(text)
                several.pop()
            else:
                several[-1].rset()
            return bool(ended)

        wait_until(has_ended, "one connection too many is ended", 20)
        assert ended[0].startswith(b"4.7.0 Too many connections of this client")
        assert [smtp.noop()[0] for smtp in several] == [250] * (MOST_OF_CLIENT - 1)
    finally:
        for smtp in several:
            smtp.close()


def test_messages_a_minute_are_the_clients_own_and_a_new_limit_holds_at_once(
    limited: Limited,
) -> None:
    with secured(limited.door.port, "127.0.3.1") as smtp:
        assert login(smtp, RATED)[0] == 235

        numbers = count()

        def asked() -> int:
            code = smtp.mail(SENDER)[0]
            if code == 250:
                name = f"rated-{next(numbers)}"
                smtp.rcpt(f"{name}@r.example.net")
                smtp.data(message(name).replace(b"news.door.example", DOMAIN.encode()))
            return code

        assert [asked() for _ in range(MESSAGES_A_MINUTE + 1)] == [250] * MESSAGES_A_MINUTE + [450]
        limited.change(RATED, max_messages_per_minute=60_000)
        wait_until(lambda: asked() == 250, "the higher limit holds")
        limited.change(RATED, max_messages_per_minute=1)
        wait_until(lambda: asked() == 450, "the lower limit holds")


def test_an_address_opens_only_so_many_connections_a_minute(limited: Limited) -> None:
    source = "127.0.4.1"
    for _ in range(NEW_A_MINUTE):
        with Peer(limited.door.port, source) as peer:
            assert peer.reply().startswith("220 ")
    with Peer(limited.door.port, source) as peer:
        assert peer.reply().startswith("421 4.7.0 Too many new connections a minute")
        assert peer.line() == ""
    # Before the handshake no reply can be sent.
    with Peer(limited.door.tls_port, source) as peer:
        assert peer.line() == ""
    with Peer(limited.door.port, "127.0.4.2") as peer:
        assert peer.reply().startswith("220 ")


def test_too_many_wrong_commands_end_a_connection(limited: Limited) -> None:
    with Peer(limited.door.port, "127.0.5.1") as peer:
        replies = [peer.reply()]
        while not replies[-1].startswith("421"):
            assert len(replies) < 50
            replies.append(peer.ask("NONSENSE"))
        assert replies[-1].startswith("421 4.7.0 Too many errors")


def test_a_new_certificate_is_shown_on_both_ports(limited: Limited) -> None:
    door = limited.door

    def shown(is_implicit: bool, source: str) -> bytes:
        with secured(door.tls_port if is_implicit else door.port, source, is_implicit) as smtp:
            assert isinstance(smtp.sock, ssl.SSLSocket)
            return smtp.sock.getpeercert(binary_form=True) or b""

    before = shown(False, "127.0.6.1")
    assert shown(True, "127.0.6.1") == before
    certificate, _ = self_signed(door.certificate.parent)
    new = ssl.PEM_cert_to_DER_cert(certificate.read_text())
    sources = (f"127.0.7.{n}" for n in range(1, 255))
    for is_implicit in (False, True):
        wait_until(
            lambda i=is_implicit: shown(i, next(sources)) == new,  # type: ignore[misc]
            "the new certificate is shown",
        )


# -- deliberately slow peers


def drip(peer: Peer, data: bytes) -> str:
    """Send this repeatedly, one byte at a time; return the last line of the front door."""
    with peer:
        for byte in cycle(data):
            if select.select([peer.sock], [], [], 0.1)[0]:
                return peer.line()
            peer.sock.sendall(bytes([byte]))
    raise AssertionError


def logged_in(limited: Limited, source: str) -> Peer:
    peer = Peer(limited.door.port, source)
    peer.reply()
    peer.ask("EHLO slow.example")
    assert peer.ask("STARTTLS").startswith("220")
    peer.secure()
    peer.ask("EHLO slow.example")
    # \0limited-slow\0correct-horse-battery
    peer.ask("AUTH PLAIN AGxpbWl0ZWQtc2xvdwBjb3JyZWN0LWhvcnNlLWJhdHRlcnk=")
    return peer


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
    limited: Limited,
) -> None:
    limited.change(SLOW, max_messages_per_minute=1_000)
    with ThreadPoolExecutor(len(SLOW_PEERS)) as pool:
        ends = pool.map(lambda peer: peer(limited).strip(), SLOW_PEERS)
        assert dict(zip(SLOW_PEERS, ends, strict=True)) == SLOW_PEERS
    wait_until(lambda: not open_connections(limited.door), "no place is taken any more")
