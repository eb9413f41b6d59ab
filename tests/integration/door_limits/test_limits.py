"""The limits of a front door, set low: connections, rates, wrong commands; and its certificate."""

from __future__ import annotations

import smtplib
import ssl
from itertools import count

import pytest

from tests.support.certificates import self_signed
from tests.support.door_peers import Peer, login, secured
from tests.support.front_door import message
from tests.support.limited_door import (
    DOMAIN,
    MESSAGES_A_MINUTE,
    MOST_OF_CLIENT,
    NAME,
    NEW_A_MINUTE,
    RATED,
    SENDER,
    Limited,
)
from tests.support.smtp_peers import wait_until

# One front door for this folder, even if the tests run in several processes.
pytestmark = pytest.mark.xdist_group("limited-door")


def test_a_client_has_only_so_many_connections_and_a_lower_limit_holds_for_those_open(
    limited: Limited,
) -> None:
    port = limited.door.port
    several: list[smtplib.SMTP] = []
    try:
        for n in range(1, MOST_OF_CLIENT + 1):
            several.append(secured(port, f"127.0.1.{n}"))
            assert login(several[-1], NAME)[0] == 235
        with secured(port, "127.0.1.20") as one_more:
            code, text = login(one_more, NAME)
            assert (code, text[:37]) == (421, "4.7.0 Too many connections of this cl")
        several.pop().quit()

        sources = (f"127.0.2.{n}" for n in range(1, 255))

        def is_let_in() -> bool:
            smtp = secured(port, next(sources))
            if login(smtp, NAME)[0] == 235:
                several.append(smtp)
            return several[-1] is smtp

        wait_until(is_let_in, "the place that was left is free")
        limited.change(NAME, max_connections=MOST_OF_CLIENT - 1)
        # A connection learns of it with its next command.
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

        wait_until(has_ended, "one connection too many is ended")
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
