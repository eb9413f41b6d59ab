"""Connections that never log in take no slots from clients that do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from shared.registry.client import Client
from tests.support.door_peers import Peer, login, open_connections, secured
from tests.support.front_door import Door, running_door
from tests.support.smtp_peers import wait_until

NAME = "before-login"
CLIENT = Client(NAME, "news.before.example", "back@before.example.org", "before-mailing")
MOST, BEFORE_LOGIN, OF_ADDRESS = 8, 4, 2
# No test waits for it: connections that must free a slot are closed long before.
LOGIN_S = HANDSHAKE_S = 300


@pytest.fixture(scope="module")
def door(kafka_bootstrap: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    with running_door(
        kafka_bootstrap,
        tmp_path_factory.mktemp("before-login"),
        CLIENT,
        smtp_max_connections=str(MOST),
        smtp_before_login_percent=str(100 * BEFORE_LOGIN // MOST),
        smtp_max_before_login_per_address=str(OF_ADDRESS),
        smtp_login_timeout_s=str(LOGIN_S),
        smtp_handshake_timeout_s=str(HANDSHAKE_S),
    ) as door:
        yield door


@pytest.fixture
def open_peers(door: Door) -> Iterator[ExitStack]:
    """Connections entered here are closed, and their slots free, when the test ends."""
    with ExitStack() as stack:
        yield stack
    wait_until(lambda: not open_connections(door), "all places are free")


def idle(stack: ExitStack, door: Door, source: str) -> Peer:
    """A peer that is greeted and sends nothing."""
    peer = stack.enter_context(Peer(door.port, source))
    assert peer.reply().startswith("220 ")
    return peer


def test_an_address_has_a_limit_of_its_own_before_login(door: Door, open_peers: ExitStack) -> None:
    for _ in range(OF_ADDRESS):
        idle(open_peers, door, "127.0.1.1")
    one_more = open_peers.enter_context(Peer(door.port, "127.0.1.1"))
    assert one_more.reply().startswith("421 4.7.0 Too many connections from your address that")
    idle(open_peers, door, "127.0.1.2")


def test_a_client_logs_in_while_idle_connections_hold_all_places_before_login(
    door: Door, open_peers: ExitStack
) -> None:
    several = [
        idle(open_peers, door, f"127.0.2.{1 + n // OF_ADDRESS}") for n in range(BEFORE_LOGIN)
    ]
    clients = []
    for n in range(MOST - BEFORE_LOGIN):
        client = open_peers.enter_context(secured(door.port, f"127.0.3.{n}"))
        assert login(client, NAME)[0] == 235
        clients.append(client)
        # The oldest of the busiest address had to free its slot.
    assert [client.noop()[0] for client in clients] == [250] * len(clients)
    assert several[0].reply().startswith("421 4.7.0 Too many connections that have not logged in")
    assert several[0].line() == ""


def test_a_handshake_of_implicit_tls_gives_its_place_away_too(
    door: Door, open_peers: ExitStack
) -> None:
    silent = [
        open_peers.enter_context(Peer(door.tls_port, f"127.0.4.{1 + n // OF_ADDRESS}"))
        for n in range(BEFORE_LOGIN)
    ]
    wait_until(lambda: open_connections(door) == BEFORE_LOGIN, "all of them are counted")
    client = open_peers.enter_context(secured(door.port, "127.0.4.9"))
    assert login(client, NAME)[0] == 235
    assert silent[0].line() == ""


def test_a_logged_in_client_takes_no_place_before_login(door: Door, open_peers: ExitStack) -> None:
    source = "127.0.5.1"
    for _ in range(OF_ADDRESS + 1):
        client = open_peers.enter_context(secured(door.port, source))
        assert login(client, NAME)[0] == 235
    assert client.noop()[0] == 250


def test_no_time_before_login_is_given_anew_by_commands(
    kafka_bootstrap: str, tmp_path: Path
) -> None:
    with running_door(
        kafka_bootstrap, tmp_path, CLIENT, smtp_login_timeout_s="2", smtp_idle_timeout_s="300"
    ) as door:
        said = said_after_hello(door)
        while not said[0].startswith("250"):  # the machine was too slow for EHLO in that time
            said = said_after_hello(door)
    assert said[-1].startswith("421 4.7.0 No login in time")


def said_after_hello(door: Door) -> list[str]:
    """The lines that a peer gets that sends EHLO and nothing else, until it is disconnected."""
    with Peer(door.port, "127.0.6.1") as peer:
        assert peer.reply().startswith("220 ")
        peer.sock.sendall(b"EHLO idle.example\r\n")
        return list(iter(peer.line, ""))
