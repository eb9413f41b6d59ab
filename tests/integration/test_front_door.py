"""The front door as a process, with a real Kafka: foreign clients, refusals, signals."""

from __future__ import annotations

import asyncio
import base64
import re
import signal
import smtplib
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import aiosmtplib
import pytest

from shared.topics.event_records import Tally
from shared.topics.records import Event, EventType
from tests.support.front_door import (
    CLIENT,
    DOMAIN,
    ELSEWHERE,
    NAME,
    PASSWORD,
    SENDER,
    Door,
    arrived,
    connected,
    message,
    running_door,
    start,
    submit,
    told,
    trusting,
)
from tests.support.patience import PATIENCE_S
from tests.support.scram_client import ScramClient
from tests.support.smtp_peers import wait_until

# One front door for the whole module, even if the tests run in several processes.
pytestmark = pytest.mark.xdist_group("front-door")


@pytest.fixture(scope="module")
def door(kafka_bootstrap: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    with running_door(
        kafka_bootstrap, tmp_path_factory.mktemp("door"), CLIENT, ELSEWHERE
    ) as running:
        yield running


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
def test_a_message_of_smtplib_stands_in_kafka_before_its_250(door: Door, mechanism: str) -> None:
    name = f"smtplib-{mechanism.lower()}"
    with connected(door, login=False) as smtp:
        smtp.user, smtp.password = NAME, PASSWORD
        method = smtp.auth_plain if mechanism == "PLAIN" else smtp.auth_login
        assert smtp.auth(mechanism, method)[0] == 235
        code, text = submit(smtp, message(name), f"{name}@r.example.net")
    assert code == 250
    (found,) = arrived(door, f"<{name}@{DOMAIN}>")
    assert text == f"2.0.0 Ok: queued as {found.envelope.mail_id}"
    assert found.content == message(name)
    assert (found.envelope.client, found.envelope.origin.peer) == (NAME, "127.0.0.1")


@pytest.mark.parametrize(("password", "code"), [(PASSWORD, 235), ("wrong-horse-battery", 535)])
def test_scram_shows_each_side_that_the_other_knows_the_password(
    door: Door, password: str, code: int
) -> None:
    def said(data: bytes) -> bytes:
        answer, text = smtp.docmd(base64.b64encode(data).decode())
        assert answer in {334, code}
        return base64.b64decode(text) if answer == 334 else b""

    client = ScramClient(NAME, password)
    with connected(door, login=False) as smtp:
        first = base64.b64encode(client.first()).decode()
        answer, server_first = smtp.docmd("AUTH", f"SCRAM-SHA-256 {first}")
        assert answer == 334
        server_final = said(client.final(base64.b64decode(server_first)))
        if code == 235:
            assert client.is_right(server_final)
            assert smtp.docmd("")[0] == 235
            assert submit(smtp, message("scram"), "scram@r.example.net")[0] == 250
        else:
            assert smtp.mail(SENDER)[0] == 530


def test_aiosmtplib_submits_over_implicit_tls(door: Door) -> None:
    async def send() -> str:
        async with aiosmtplib.SMTP(
            hostname="127.0.0.1", port=door.tls_port, use_tls=True, tls_context=trusting()
        ) as smtp:
            await smtp.login(NAME, PASSWORD)
            _, text = await smtp.sendmail(SENDER, "aio@r.example.net", message("aio"))
            return text

    assert "queued as" in asyncio.run(send())
    assert len(arrived(door, f"<aio@{DOMAIN}>")) == 1


def test_several_messages_go_over_one_connection_and_each_has_its_own_mail_id(door: Door) -> None:
    with connected(door) as smtp:
        answers = [submit(smtp, message(f"many-{n}"), f"many-{n}@r.example.net") for n in range(20)]
    assert {code for code, _ in answers} == {250}
    assert len({text for _, text in answers}) == 20


def test_swaks_says_what_a_person_would_want_to_read(door: Door) -> None:
    done = subprocess.run(
        ["swaks", "--server", f"127.0.0.1:{door.port}", "--quit-after", "EHLO"],
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )
    assert "220 mx.sluice.example ESMTP Sluice" in done.stdout
    assert "250-STARTTLS" in done.stdout or "250 STARTTLS" in done.stdout
    assert "AUTH" not in done.stdout
    assert "SIZE 307200" in done.stdout


def test_without_tls_nobody_logs_in_and_without_a_login_nobody_sends(door: Door) -> None:
    with smtplib.SMTP("127.0.0.1", door.port, timeout=PATIENCE_S) as smtp:
        smtp.ehlo()
        assert smtp.docmd("AUTH", "PLAIN AGEAYg==")[0] == 538
        assert smtp.mail(SENDER)[0] == 530
    with connected(door, login=False) as smtp:
        assert smtp.mail(SENDER)[0] == 530


@pytest.mark.parametrize(
    ("user", "password", "code"),
    [
        (NAME, "wrong-horse-battery", 535),
        ("nobody", PASSWORD, 535),
        ("door-elsewhere", PASSWORD, 535),  # correct, but from an address that is not its own
    ],
)
def test_a_wrong_login_is_refused(door: Door, user: str, password: str, code: int) -> None:
    with connected(door, login=False) as smtp:
        with pytest.raises(smtplib.SMTPAuthenticationError) as refused:
            smtp.login(user, password)
        assert refused.value.smtp_code == code


def test_the_envelope_is_refused_before_the_content_is_sent(door: Door) -> None:
    with connected(door) as smtp:
        assert smtp.mail("news@elsewhere.example")[0] == 550
        assert smtp.mail(SENDER)[0] == 250
        assert smtp.rcpt("max@[127.0.0.1]")[0] == 550
        assert smtp.rcpt("one@r.example.net")[0] == 250
        code, text = smtp.rcpt("two@r.example.net")
        assert (code, text[:9]) == (452, b"4.5.3 R3:")
        # The first one is still sent.
        assert smtp.data(message("one"))[0] == 250


def test_a_broken_rule_is_refused_at_the_dot_and_told_as_an_event(door: Door) -> None:
    content = message("broken", extra="Cc: other@r.example.net\r\nReturn-Path: <x@y.example>\r\n")
    with connected(door) as smtp:
        code, text = submit(smtp, content, "broken@r.example.net")
        assert code == 550
        assert "R5 (5.6.0)" in text
        assert "R12 (5.6.0)" in text
        # The session continues.
        assert submit(smtp, message("after"), "after@r.example.net")[0] == 250
    found = told(door, "broken@r.example.net")
    (event,) = [one for one in found if isinstance(one, Event)]
    assert event.type is EventType.REFUSED
    assert [rule.rule for rule in event.data.rules] == ["R5", "R12"]
    rows = [row for one in found if isinstance(one, Tally) for row in one.rows]
    mine = [row for row in rows if row.client == NAME]
    assert event.subject in [mail_id for row in mine for mail_id in row.mail_ids]
    assert all(row.received == len(row.mail_ids) for row in mine)


def test_a_message_that_is_too_large_breaks_r1(door: Door) -> None:
    with connected(door) as smtp:
        assert smtp.docmd(f"MAIL FROM:<{SENDER}> SIZE=307201")[0] == 552
        code, _ = submit(
            smtp, message("large", body="x" * 70 + "\r\n" * 160_000), "l@r.example.net"
        )
        assert code == 552
    (event,) = [one for one in told(door, "l@r.example.net") if isinstance(one, Event)]
    assert [rule.rule for rule in event.data.rules] == ["R1"]


def test_who_speaks_before_the_greeting_is_let_go(door: Door) -> None:
    with socket.create_connection(("127.0.0.1", door.port), timeout=PATIENCE_S) as peer:
        peer.sendall(b"EHLO early\r\n")
        with peer.makefile("rb") as answers:
            assert answers.readline().startswith(b"554 5.5.1")
            assert answers.readline() == b""


def test_a_guesser_is_locked_out_and_a_restarting_door_says_421(
    kafka_bootstrap: str, tmp_path: Path, door: Door
) -> None:
    own = start(kafka_bootstrap, tmp_path, SLUICE_INGEST__SMTP_MAX_FAILED_LOGINS="2")
    try:
        for _ in range(2):
            with connected(own, login=False) as smtp, pytest.raises(smtplib.SMTPException):
                smtp.login(NAME, "wrong-horse-battery")
        with connected(own, login=False) as smtp:
            smtp.user, smtp.password = NAME, PASSWORD
            with pytest.raises(smtplib.SMTPAuthenticationError) as refused:
                smtp.auth("PLAIN", smtp.auth_plain)
            assert refused.value.smtp_code == 421
        with (
            socket.create_connection(("127.0.0.1", own.port), timeout=PATIENCE_S) as peer,
            peer.makefile("rb") as answers,
        ):
            assert answers.readline().startswith(b"220 ")
            own.process.signal(signal.SIGTERM)
            assert answers.readline().startswith(b"421 4.3.2")
        assert own.process.wait(PATIENCE_S)
        assert own.process.exit_code == 0
    finally:
        own.process.end(30)


def test_the_log_names_the_port_that_was_bound_for_port_0(
    kafka_bootstrap: str, tmp_path: Path
) -> None:
    any_port = '["127.0.0.1:0"]'
    own = start(kafka_bootstrap, tmp_path, SLUICE_INGEST__SMTP_LISTEN=any_port)
    try:
        listens = re.compile(r"front door listens address=127\.0\.0\.1:(\d+) tls=False")

        def bound() -> list[str]:
            return listens.findall((tmp_path / "ingest.log").read_text())

        wait_until(lambda: bool(bound()), "the log names it")
        with socket.create_connection(("127.0.0.1", int(bound()[0])), timeout=PATIENCE_S) as peer:
            assert peer.recv(4) == b"220 "
    finally:
        own.process.end(30)
