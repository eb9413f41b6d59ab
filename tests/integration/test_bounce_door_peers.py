"""The bounce door with foreign mail servers: a Postfix and an Exim that bounce, swaks."""

from __future__ import annotations

import smtplib
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.responses.reading import understand
from shared.responses.understood import ResponseKind
from shared.topics.records import ReturnAddressKind, Returned
from tests.support.bounce_door import (
    CLIENT,
    DOMAIN,
    MAIL_ID,
    all_returned,
    return_path,
    running_bounce_door,
)
from tests.support.bouncing_exim import bouncing_exim
from tests.support.front_door import Door
from tests.support.patience import PATIENCE_S
from tests.support.postfix_relay import Relay, inject, running_relay
from tests.support.receiving_peers import place
from tests.support.response_rules import RULES
from tests.support.smtp_peers import wait_until

pytestmark = pytest.mark.xdist_group("bounce-door-peers")

CONTENT = (
    f"From: News <news@{DOMAIN}>\r\nTo: max@nowhere.example\r\nSubject: Sale\r\n"
    f"Date: Tue, 24 Nov 2026 10:00:00 +0000\r\nMessage-ID: <sale@{DOMAIN}>\r\n\r\nHello\r\n"
).encode()


@pytest.fixture(scope="module")
def door(kafka_bootstrap: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    folder: Path = tmp_path_factory.mktemp("bounce-door")
    with running_bounce_door(kafka_bootstrap, folder, CLIENT) as running:
        yield running


@pytest.fixture(scope="module")
def relay(door: Door, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Relay]:
    """A Postfix whose mail, and whose bounces, go to the bounce door."""
    with running_relay(tmp_path_factory.mktemp("relay"), door, door.port) as running:
        yield running


def found(door: Door, part: bytes) -> tuple[Returned, bytes]:
    (record,) = [each for each in all_returned(door.bootstrap) if part in each[1]]
    return record


def test_a_bounce_of_postfix_comes_back_to_its_return_path_over_tls(
    door: Door, relay: Relay
) -> None:
    address = return_path()
    inject(relay, CONTENT, "max@nowhere.example", sender=address)
    assert "550 5.7.1 Relaying denied" in relay.wait_for("max@nowhere.example", "bounced")
    relay.wait_for(address, "sent (250 2.0.0 Ok: queued as ")
    assert "TLS connection established to 127.0.0.1" in relay.log()
    returned, content = found(door, b"Original-Recipient: rfc822;max@nowhere.example")
    assert (returned.sender, returned.recipient, returned.mail_id) == ("", address, MAIL_ID)
    assert b"Content-Type: message/delivery-status" in content


def test_a_bounce_of_exim_comes_back_though_the_first_of_two_hosts_is_down(door: Door) -> None:
    mark = b"X-Failed-Recipients: ida@nowhere.example"
    with place(with_tls=False) as at, bouncing_exim(at, door.port):
        with smtplib.SMTP("127.0.0.1", at.port, timeout=PATIENCE_S) as client:
            client.sendmail(return_path(), "ida@nowhere.example", CONTENT)
        wait_until(
            lambda: any(mark in content for _, content in all_returned(door.bootstrap)),
            "the bounce of Exim is on mail.returned",
            PATIENCE_S,
        )
    returned, content = found(door, mark)
    assert (returned.sender, returned.mail_id) == ("", MAIL_ID)
    understood = understand(content, RULES)
    assert understood.kind is ResponseKind.HARD
    assert [one.address for one in understood.recipients] == ["ida@nowhere.example"]


def test_postfix_bounces_nothing_to_a_forged_return_path(door: Door, relay: Relay) -> None:
    forged = f"rp={'1' * 61}@{DOMAIN}"
    inject(relay, CONTENT, forged, sender="")
    assert "550 5.1.1 No such return path" in relay.wait_for(forged, "bounced")


@pytest.mark.parametrize("options", [(), ("--tls",), ("--protocol", "SMTP"), ("--pipeline",)])
def test_swaks_hands_in_an_answer_to_a_from_address(door: Door, options: tuple[str, ...]) -> None:
    subject = f"auto {time.monotonic_ns()}"
    done = subprocess.run(
        [
            *("swaks", "--server", f"127.0.0.1:{door.port}", "--from", "max@r.example.net"),
            *("--to", f"news@{DOMAIN}", "--header", f"Subject: {subject}", *options),
        ],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    returned, _ = found(door, subject.encode())
    assert returned.address_kind is ReturnAddressKind.FROM
    assert (returned.sender, returned.recipient) == ("max@r.example.net", f"news@{DOMAIN}")
