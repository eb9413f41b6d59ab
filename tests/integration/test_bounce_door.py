"""The bounce door with real Kafka: what is on mail.returned when it has said 250.

The process serves nothing else: it reads no intake and has no front door.
"""

from __future__ import annotations

import smtplib
from collections.abc import Iterator
from pathlib import Path

import pytest

from local.parts.services import get_json
from shared.topics import ids
from shared.topics.records import ReturnAddressKind, Returned
from tests.support.bounce_door import (
    CLIENT,
    DOMAIN,
    HOST,
    MAIL_ID,
    all_returned,
    return_path,
    running_bounce_door,
)
from tests.support.door_peers import number
from tests.support.front_door import Door, trusting
from tests.support.patience import PATIENCE_S
from tests.support.smtp_peers import wait_until

BOUNCE = (
    b"From: MAILER-DAEMON@mx.r.example.net\r\nTo: %b\r\nSubject: Undelivered\r\n\r\n"
    b"550 5.1.1 no such user\r\n"
)


@pytest.fixture(scope="module")
def door(kafka_bootstrap: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    folder: Path = tmp_path_factory.mktemp("bounce-door")
    alone = {"reads_intakes": "false", "smtp_listen": "[]", "smtps_listen": "[]"}
    with running_bounce_door(
        kafka_bootstrap, folder, CLIENT, bounce_postmaster=CLIENT.name, **alone
    ) as it:
        yield it


@pytest.fixture
def smtp(door: Door) -> Iterator[smtplib.SMTP]:
    with smtplib.SMTP("127.0.0.1", door.port, timeout=PATIENCE_S) as smtp:
        smtp.ehlo("mx.r.example.net")
        yield smtp


def send(smtp: smtplib.SMTP, sender: str, recipients: list[str], content: bytes) -> str:
    assert smtp.mail(sender)[0] == 250
    for recipient in recipients:
        code, text = smtp.rcpt(recipient)
        assert code == 250, text
    code, text = smtp.data(content)
    assert code == 250, text
    return text.decode().rpartition(" ")[2]


def record(door: Door, return_id: str) -> tuple[Returned, bytes]:
    (found,) = [each for each in all_returned(door.bootstrap) if each[0].return_id == return_id]
    return found


def test_a_bounce_is_in_kafka_with_what_its_return_path_carries_before_its_250(
    door: Door, smtp: smtplib.SMTP
) -> None:
    address = return_path()
    content = BOUNCE % address.encode()
    return_id = send(smtp, "", [address], content)
    returned, value = record(door, return_id)
    assert value == content
    assert ids.to_bytes(return_id)
    assert (returned.client, returned.recipient, returned.sender) == (CLIENT.name, address, "")
    assert returned.address_kind is ReturnAddressKind.RETURN_PATH
    assert (returned.mailing_id, returned.sub_client) == ("spring-mailing", "shop")
    assert returned.mail_id == MAIL_ID
    assert returned.peer == "127.0.0.1"
    assert abs(returned.received_at_ms - ids_time(return_id)) == 0


def test_a_process_with_only_a_door_reads_no_intake_and_is_ready(door: Door) -> None:
    def checks(path: str) -> dict[str, str]:
        status, found = get_json(door.http_port, path)
        return found["checks"] if status == 200 and isinstance(found, dict) else {}

    ready = {"brokers": "ok", "doors": "ok", "bounce_door": "ok"}
    wait_until(lambda: checks("/ready") == ready, "it is ready")
    wait_until(lambda: checks("/live") == {"bounce_door_loop": "ok"}, "it is live")


def ids_time(return_id: str) -> int:
    return int.from_bytes(ids.to_bytes(return_id)[:6], "big")


def test_starttls_is_offered_and_auth_is_not(smtp: smtplib.SMTP) -> None:
    assert smtp.has_extn("starttls")
    assert not smtp.has_extn("auth")
    smtp.starttls(context=trusting())
    smtp.ehlo()
    assert not smtp.has_extn("auth")
    assert smtp.docmd("AUTH PLAIN AGEAYg==")[0] == 502
    assert send(smtp, "", [return_path()], b"Subject: x\r\n\r\nx\r\n")


def test_each_recipient_has_a_record_and_one_given_twice_has_one(
    door: Door, smtp: smtplib.SMTP
) -> None:
    given = [return_path(), f"News@{DOMAIN}", f"POSTMASTER@{DOMAIN.upper()}", f"abuse@{DOMAIN}"]
    content = b"Subject: to all\r\n\r\nAuto reply\r\n"
    send(smtp, "max@r.example.net", [*given, given[1], "postmaster"], content)
    found = [returned for returned, value in all_returned(door.bootstrap) if value == content]
    assert sorted((each.address_kind.value, each.recipient) for each in found) == [
        ("abuse", f"abuse@{DOMAIN}"),
        ("from", f"News@{DOMAIN}"),
        ("postmaster", f"POSTMASTER@{DOMAIN}"),
        ("postmaster", f"postmaster@{HOST}"),
        ("return_path", given[0]),
    ]
    assert len({each.return_id for each in found}) == 5


def test_odd_bytes_of_a_bounce_arrive_as_they_are(door: Door, smtp: smtplib.SMTP) -> None:
    content = (
        b"Subject: odd\r\n\r\nbare \n and \r and \0 and \xff\r\n..dot\r\n" + b"y" * 3_000 + b"\r\n"
    )
    smtp.mail("")
    smtp.rcpt(f"news@{DOMAIN}")
    assert smtp.docmd("DATA")[0] == 354
    smtp.send(content + b".\r\n")
    code, text = smtp.getreply()
    assert code == 250
    assert record(door, text.decode().rpartition(" ")[2])[1] == content.replace(b"..dot", b".dot")


def test_a_message_over_the_limit_is_refused_and_the_next_one_is_taken(smtp: smtplib.SMTP) -> None:
    smtp.mail("")
    smtp.rcpt(return_path())
    assert smtp.data(b"x" * 70 + b"\r\n" + b"y" * 5_300_000)[0] == 552
    assert send(smtp, "", [return_path()], b"z" * 4_000_000 + b"\r\n")


def test_what_is_refused_is_counted_and_never_written(door: Door, smtp: smtplib.SMTP) -> None:
    forged, other = "rp=" + "0" * 61 + f"@{DOMAIN}", "max@elsewhere.example"
    refused = number(door, "sluice_ingest_bounce_door_refused")
    smtp.mail("")
    assert smtp.rcpt(forged) == (550, b"5.1.1 No such return path")
    assert smtp.rcpt(other)[0] == 550
    assert smtp.docmd("DATA")[0] == 554
    assert number(door, "sluice_ingest_bounce_door_refused") == refused + 2
    # Other doors write to the same topic meanwhile.
    written = {returned.recipient for returned, _ in all_returned(door.bootstrap)}
    assert written.isdisjoint({forged, other})
