"""The bounce door's limits over real sockets, and files that change while it runs."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.ingest.bounce_settings import MOST_MESSAGE_BYTES
from shared.mail import verp
from shared.registry.client import Client
from tests.support.bounce_door import (
    CLIENT,
    DOMAIN,
    KEYS_TEXT,
    local_part,
    return_path,
    running_bounce_door,
)
from tests.support.door_peers import Peer
from tests.support.front_door import Door, register
from tests.support.smtp_peers import wait_until

pytestmark = pytest.mark.xdist_group("bounce-door-limits")

ERRORS_PER_MINUTE = 30
OTHER = Client("returns-late", "news.late.example", "back@late.example.org", "late")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bounce-limits")


@pytest.fixture(scope="module")
def door(kafka_bootstrap: str, folder: Path) -> Iterator[Door]:
    limits = {
        "bounce_max_connections_per_address": "3",
        "bounce_errors_per_address_per_minute": str(ERRORS_PER_MINUTE),
        "bounce_max_held_bytes": str(32 * 1024 * 1024),
        "bounce_max_message_bytes": str(MOST_MESSAGE_BYTES),
    }
    with running_bounce_door(kafka_bootstrap, folder, CLIENT, **limits) as running:
        yield running


def greeted(door: Door, source: str) -> Peer:
    peer = Peer(door.port, source)
    assert peer.reply().startswith("220")
    assert peer.ask("EHLO mx.r.example").startswith("250")
    return peer


def rcpt(door: Door, source: str, address: str) -> str:
    with greeted(door, source) as peer:
        peer.ask("MAIL FROM:<>")
        return peer.ask(f"RCPT TO:<{address}>")


def test_a_silent_peer_is_ended_for_idling_and_never_asked_to_log_in(
    kafka_bootstrap: str, tmp_path: Path
) -> None:
    # A door of its own: the peers of the other tests may be as slow as the machine.
    short = {"smtp_idle_timeout_s": "2", "smtp_login_timeout_s": "1"}
    with (
        running_bounce_door(kafka_bootstrap, tmp_path, CLIENT, **short) as door,
        Peer(door.port, "127.0.9.1") as peer,
    ):
        assert peer.reply().startswith("220")
        assert peer.reply().startswith("421 4.4.2 Idle for too long")


def test_connections_of_one_address_are_limited_and_another_one_is_served(door: Door) -> None:
    peers = [greeted(door, "127.0.9.2") for _ in range(3)]
    with Peer(door.port, "127.0.9.2") as fourth:
        assert fourth.reply().startswith("421 4.7.0 Too many connections from your address")
    assert rcpt(door, "127.0.9.3", return_path()).startswith("250")
    for peer in peers:
        peer.sock.close()


def test_an_address_that_guesses_return_paths_is_turned_away_and_others_are_served(
    door: Door,
) -> None:
    refused, began = 0, time.monotonic()
    for _ in range(3):
        with Peer(door.port, "127.0.9.4") as peer:
            if not peer.reply().startswith("220"):
                break
            peer.ask("EHLO guesser.example")
            peer.ask("MAIL FROM:<>")
            while peer.ask(f"RCPT TO:<rp={refused:061d}@{DOMAIN}>").startswith("550"):
                refused += 1
    # The limit is given back little by little, also while this goes on.
    back = (time.monotonic() - began) / 60 * ERRORS_PER_MINUTE
    assert ERRORS_PER_MINUTE <= refused <= ERRORS_PER_MINUTE + back
    assert rcpt(door, "127.0.9.5", return_path()).startswith("250")


def test_large_messages_of_one_address_leave_room_for_another(door: Door) -> None:
    part = (b"y" * 998 + b"\r\n") * 4_000
    first, second = greeted(door, "127.0.9.6"), greeted(door, "127.0.9.6")
    for peer in (first, second):
        peer.ask("MAIL FROM:<>")
        peer.ask(f"RCPT TO:<{return_path()}>")
        assert peer.ask("DATA").startswith("354")
    first.sock.sendall(part + b"x" * 700_000)
    second.sock.sendall(part)
    second.sock.sendall(b"x" * 700_000)
    told = second.reply()
    assert told.startswith("421 4.3.1 Too much mail at once")
    with greeted(door, "127.0.9.7") as other:
        other.ask("MAIL FROM:<>")
        other.ask(f"RCPT TO:<{return_path()}>")
        other.ask("DATA")
        other.sock.sendall(b"Subject: x\r\n\r\nx\r\n.\r\n")
        assert other.reply().startswith("250")
    assert first.ask("\r\n.").startswith("250")
    for peer in (first, second):
        peer.sock.close()


def test_the_largest_message_that_may_be_set_fits_into_a_record(door: Door) -> None:
    noise = os.urandom(MOST_MESSAGE_BYTES - 2).translate(None, b"\r\n")
    content = noise.ljust(MOST_MESSAGE_BYTES - 2, b"x") + b"\r\n"
    with greeted(door, "127.0.9.13") as peer:
        peer.ask("MAIL FROM:<>")
        peer.ask(f"RCPT TO:<{return_path()}>")
        peer.ask("DATA")
        peer.sock.sendall(content.replace(b"\r\n.", b"\r\n..") + b".\r\n")
        assert peer.reply().startswith("250")


def test_a_client_that_registers_is_known_without_a_restart(door: Door) -> None:
    address = f"news@{OTHER.sending_domain}"
    assert rcpt(door, "127.0.9.8", address).startswith("550 5.7.1")
    register(door.bootstrap, OTHER)
    wait_until(lambda: rcpt(door, "127.0.9.9", address)[:3] == "250", "it is known")


def test_changed_keys_are_taken_up_and_those_that_are_removed_verify_nothing(
    door: Door, folder: Path
) -> None:
    today = verp.day_of(int(time.time() * 1000))
    text = f"8 2026-01-01 {'a5' * 32}\n"
    new = f"{local_part(today, keys=verp.parse_keys(text))}@{DOMAIN}"
    assert rcpt(door, "127.0.9.10", new).startswith("550 5.1.1")
    _replace(folder / "return-keys", KEYS_TEXT + text)
    wait_until(lambda: rcpt(door, "127.0.9.11", new)[:3] == "250", "the new key verifies")
    assert rcpt(door, "127.0.9.11", return_path()).startswith("250")
    _replace(folder / "return-keys", text)
    wait_until(lambda: rcpt(door, "127.0.9.12", return_path())[:3] == "550", "the old one does not")
    _replace(folder / "return-keys", KEYS_TEXT)


def _replace(path: Path, text: str) -> None:
    part = path.with_suffix(".new")
    part.write_text(text)
    part.replace(path)
