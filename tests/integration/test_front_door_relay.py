"""A platform's Postfix with a real front door: TLS, SASL, one recipient per message, refusals."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator

import pytest

from local.parts import packages
from tests.support.front_door import CLIENT, DOMAIN, SENDER, Door, message, running_door
from tests.support.patience import PATIENCE_S
from tests.support.postfix_relay import PAIRS, Relay, inject, running_relay
from tests.support.received import Received
from tests.support.smtp_peers import Sink, running_sink

pytestmark = pytest.mark.xdist_group("front-door-relay")

_DATE = "Date: Tue, 24 Nov 2026 10:00:00 +0000\r\n"


@pytest.fixture(scope="module")
def door(kafka_bootstrap: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    with running_door(kafka_bootstrap, tmp_path_factory.mktemp("door"), CLIENT) as running:
        yield running


@pytest.fixture(scope="module")
def received(kafka_bootstrap: str) -> Iterator[Received]:
    with Received(kafka_bootstrap) as following:
        yield following


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sink]:
    """The destination of the relay's other mail, including its bounces."""
    with running_sink(tmp_path_factory.mktemp("elsewhere")) as sink:
        yield sink


@pytest.fixture(scope="module")
def relay(door: Door, elsewhere: Sink, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Relay]:
    with running_relay(tmp_path_factory.mktemp("relay"), door, elsewhere.port) as running:
        yield running


def mail_id(fate: str) -> str:
    found = re.search(r"250 2\.0\.0 Ok: queued as (\w{26})", fate)
    assert found is not None, fate
    return found[1]


def test_a_relay_hands_mail_on_over_tls_with_its_login(
    door: Door, relay: Relay, received: Received
) -> None:
    content = message("relayed", _DATE, "Größe\r\n.\r\n..two")
    inject(relay, content, "relayed@r.example.net")
    fate = relay.wait_for("relayed@r.example.net", "sent")
    (found,) = received.by_id(f"<relayed@{DOMAIN}>")
    assert found.envelope.mail_id == mail_id(fate)
    # A relay adds its Received header and changes nothing else.
    assert found.content.endswith(content)
    added = found.content.removesuffix(content)
    assert re.fullmatch(rb"Received: [^\r\n]*\r\n(?:[ \t][^\r\n]*\r\n)*", added)


def test_what_smtp_source_gives_a_relay_arrives_each_with_its_own_mail_id(
    relay: Relay, received: Received
) -> None:
    source = packages.find_program("smtp-source")
    assert source is not None
    load = ("-s", "4", "-m", "20", "-l", "2000", "-S", "from smtp-source")
    ends = ("-f", SENDER, "-t", "source@r.example.net", f"127.0.0.1:{relay.port}")
    subprocess.run([source, *load, *ends], check=True, timeout=PATIENCE_S)

    def arrived() -> set[str]:
        return {
            one.envelope.mail_id
            for copies in received.look().values()
            for one in copies
            if one.envelope.recipient == "source@r.example.net"
        }

    received.until(lambda: len(arrived()) == 20)
    told = {mail_id(fate) for fate in relay.fates("source@r.example.net")}
    assert told <= arrived()


def test_a_broken_rule_bounces_in_the_relay_with_the_reason_and_the_bounce_goes_elsewhere(
    relay: Relay, elsewhere: Sink
) -> None:
    content = message("cc", f"{_DATE}Cc: other@r.example.net\r\n")
    inject(relay, content, "cc@r.example.net")
    fate = relay.wait_for("cc@r.example.net", "bounced")
    assert "550 5.6.0 R5 (5.6.0): Cc and Bcc headers are not allowed" in fate
    relay.wait_for(SENDER, "sent")
    assert SENDER in [recipient for _, recipient in elsewhere.verdicts()]


def test_of_two_recipients_the_one_in_the_to_header_is_taken_and_the_other_bounces(
    relay: Relay, received: Received
) -> None:
    inject(relay, message("first", _DATE), "first@r.example.net", "second@r.example.net")
    fate = relay.wait_for("first@r.example.net", "sent")
    assert "550 5.1.3 R3 (5.1.3): A message needs exactly one To" in relay.wait_for(
        "second@r.example.net", "bounced"
    )
    (found,) = received.by_id(f"<first@{DOMAIN}>")
    assert found.envelope.mail_id == mail_id(fate)


def test_two_recipients_in_one_transaction_are_parted_by_452_and_then_judged_singly(
    relay: Relay, received: Received
) -> None:
    one, two = f"one@{PAIRS}", f"two@{PAIRS}"
    content = message("pair", _DATE).replace(b"pair@r.example.net", one.encode())
    inject(relay, content, one, two)
    relay.wait_for(one, "sent")
    assert "452 4.5.3 R3: one recipient per message" in relay.wait_for(two, "deferred")
    assert "550 5.1.3 R3 (5.1.3)" in relay.wait_for_retry(two, "bounced")
    assert len(received.by_id(f"<pair@{DOMAIN}>")) == 1


def test_the_relay_checked_the_doors_certificate(relay: Relay) -> None:
    inject(relay, message("checked", _DATE), "checked@r.example.net")
    relay.wait_for("checked@r.example.net", "sent")
    assert "Verified TLS connection established to localhost" in relay.log()
    assert "Untrusted TLS connection" not in relay.log()
