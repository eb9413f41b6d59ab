"""The smart sink as a process, tested with foreign clients."""

from __future__ import annotations

import asyncio
import json
import signal
import smtplib
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import aiosmtplib
import pytest

from bench.smtp_sink import program
from cli.stack.paths import base_environment
from local.sink.behaviour import TARPIT_S
from tests.support.certificates import self_signed
from tests.support.patience import PATIENCE_S
from tests.support.smtp_peers import Sink, running_sink, wait_until

SENDER = "a@news.example.com"
SLOW_S = 0.7


def content(number: int = 1) -> bytes:
    return f"Message-ID: <{number}@news.example.com>\r\nSubject: x\r\n\r\n.dot\r\n".encode()


@pytest.fixture(scope="module")
def sink(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sink]:
    with running_sink(tmp_path_factory.mktemp("sink")) as sink:
        yield sink


@pytest.fixture
def client(sink: Sink) -> Iterator[smtplib.SMTP]:
    with smtplib.SMTP(sink.host, sink.port, timeout=PATIENCE_S) as client:
        yield client


def lines_of(sink: Sink, rcpt: str) -> list[tuple[str, str, str, int]]:
    return [
        (line["verdict"], line["stage"], line["message_id"], line["size"])
        for line in sink.lines()
        if line["rcpt"] == rcpt
    ]


def test_a_message_is_accepted_and_journalled_before_its_250(
    sink: Sink, client: smtplib.SMTP
) -> None:
    assert client.sendmail(SENDER, "ok-1@d.example", content()) == {}
    size = len(content())
    assert lines_of(sink, "ok-1@d.example") == [("accepted", "data", "<1@news.example.com>", size)]
    line = sink.lines()[-1]
    assert line["mail_from"] == SENDER
    assert line["reply"].startswith("250 2.0.0 Ok: queued as ")
    assert abs(line["t"] - time.time()) < 60


@pytest.mark.parametrize(
    ("rcpt", "code", "line"),
    [
        ("bounce-1@d.example", 550, ("bounced", "rcpt", "", 0)),
        ("full-1@d.example", 452, ("deferred", "rcpt", "", 0)),
    ],
)
def test_a_recipient_is_refused_at_rcpt(
    sink: Sink, client: smtplib.SMTP, rcpt: str, code: int, line: tuple[str, str, str, int]
) -> None:
    for _ in range(2):
        with pytest.raises(smtplib.SMTPRecipientsRefused) as refused:
            client.sendmail(SENDER, rcpt, content())
        assert refused.value.recipients[rcpt][0] == code
    assert lines_of(sink, rcpt) == [line, line]


def test_policy_is_refused_at_the_dot(sink: Sink, client: smtplib.SMTP) -> None:
    with pytest.raises(smtplib.SMTPDataError) as refused:
        client.sendmail(SENDER, "policy-1@d.example", content())
    assert refused.value.smtp_code == 550
    assert refused.value.smtp_error == b"5.7.1 Refused as spam"
    assert [line[:2] for line in lines_of(sink, "policy-1@d.example")] == [("bounced", "data")]


def test_each_message_is_deferred_as_often_as_its_recipient_says(
    sink: Sink, client: smtplib.SMTP
) -> None:
    rcpt = "defer-2-x@d.example"
    for number in (1, 2):
        for _ in range(2):
            with pytest.raises(smtplib.SMTPDataError) as refused:
                client.sendmail(SENDER, rcpt, content(number))
            assert refused.value.smtp_code == 451
        client.sendmail(SENDER, rcpt, content(number))
    verdicts = [line[0] for line in lines_of(sink, rcpt)]
    assert verdicts == ["deferred", "deferred", "accepted"] * 2


def test_a_drop_hangs_up_at_the_dot_once(sink: Sink) -> None:
    rcpt = "drop-1@d.example"
    with smtplib.SMTP(sink.host, sink.port) as first, pytest.raises(smtplib.SMTPServerDisconnected):
        first.sendmail(SENDER, rcpt, content())
    with smtplib.SMTP(sink.host, sink.port) as second:
        second.sendmail(SENDER, rcpt, content())
    assert [line[0] for line in lines_of(sink, rcpt)] == ["dropped", "accepted"]


def test_a_tarpit_answers_late_from_rcpt_on(sink: Sink, client: smtplib.SMTP) -> None:
    began = time.monotonic()
    client.sendmail(SENDER, "tarpit-1@d.example", content())
    assert time.monotonic() - began > 3 * TARPIT_S - 0.1
    took_s = []
    for number in range(20):  # one by chance, on a busy machine
        began = time.monotonic()
        client.sendmail(SENDER, f"ok-2-{number}@d.example", content())
        took_s.append(time.monotonic() - began)
    assert min(took_s) < TARPIT_S, "the next ones are answered at once"


def test_a_slow_recipient_is_answered_late_at_the_dot(sink: Sink, client: smtplib.SMTP) -> None:
    for code, _ in (client.ehlo(), client.mail(SENDER), client.rcpt("slow-700-1@d.example")):
        assert code == 250
    started = time.monotonic()
    assert client.data(content())[0] == 250
    assert time.monotonic() - started >= SLOW_S
    assert [verdict for verdict, *_ in lines_of(sink, "slow-700-1@d.example")] == ["accepted"]


def test_one_refusing_recipient_refuses_the_message_for_all(
    sink: Sink, client: smtplib.SMTP
) -> None:
    with pytest.raises(smtplib.SMTPDataError):
        client.sendmail(SENDER, ["ok-3@d.example", "policy-3@d.example"], content())
    assert [line[0] for line in lines_of(sink, "ok-3@d.example")] == ["bounced"]


def test_aiosmtplib_sends_utf8_addresses(sink: Sink) -> None:
    rcpt = "grüße-1@d.example"

    async def send() -> None:
        async with aiosmtplib.SMTP(hostname=sink.host, port=sink.port) as client:
            await client.sendmail(
                SENDER, rcpt, content(), mail_options=["SMTPUTF8", "BODY=8BITMIME"]
            )

    asyncio.run(send())
    assert [line[0] for line in lines_of(sink, rcpt)] == ["accepted"]


def test_a_message_with_a_bare_line_feed_is_refused(sink: Sink) -> None:
    with socket.create_connection((sink.host, sink.port), PATIENCE_S) as sock:
        told = sock.makefile("rb")
        told.readline()
        commands = (
            b"HELO me",
            b"MAIL FROM:<a@b>",
            b"RCPT TO:<c@d>",
            b"DATA",
            b"a\nb\r\n.",
            b"QUIT",
        )
        codes = []
        for command in commands:
            sock.sendall(command + b"\r\n")
            codes.append(told.readline()[:3])
    assert codes == [b"250", b"250", b"250", b"354", b"550", b"221"]


def test_smtp_source_sends_over_many_connections(sink: Sink) -> None:
    before = sum(verdict == "accepted" for verdict, _ in sink.verdicts())
    options = ("-s", "5", "-l", "4000", "-m", "200", "-d")
    subprocess.run([program("smtp-source"), *options, sink.address], check=True, timeout=PATIENCE_S)
    after = sum(verdict == "accepted" for verdict, _ in sink.verdicts())
    assert after - before == 200


def test_accept_takes_what_the_words_would_refuse(tmp_path: Path) -> None:
    with running_sink(tmp_path, "--behaviour", "accept") as sink:
        with smtplib.SMTP(sink.host, sink.port) as client:
            for word in ("bounce", "full", "policy", "defer-1", "drop", "tarpit"):
                client.sendmail(SENDER, f"{word}-1@d.example", content())
        assert {verdict for verdict, _ in sink.verdicts()} == {"accepted"}


def test_starttls_is_offered_with_a_certificate_and_everything_works_within(
    tmp_path: Path,
) -> None:
    cert, key = self_signed(tmp_path)
    with running_sink(tmp_path, "--tls-cert", str(cert), "--tls-key", str(key)) as sink:
        with smtplib.SMTP(sink.host, sink.port, timeout=PATIENCE_S) as client:
            client.starttls()
            client.ehlo()
            assert not client.has_extn("starttls")
            client.sendmail(SENDER, "ok-1@d.example", content())

        async def send() -> None:
            async with aiosmtplib.SMTP(
                hostname=sink.host, port=sink.port, start_tls=True, validate_certs=False
            ) as client:
                await client.sendmail(SENDER, "ok-2@d.example", content())

        asyncio.run(send())
        assert [verdict for verdict, _ in sink.verdicts()] == ["accepted", "accepted"]


def test_an_idle_client_is_told_421(tmp_path: Path) -> None:
    with (
        running_sink(tmp_path, "--idle-timeout", "0.2") as sink,
        socket.create_connection((sink.host, sink.port), PATIENCE_S) as sock,
    ):
        told = sock.makefile("rb").read()
    assert told.splitlines()[-1].startswith(b"421 4.4.2")


def test_the_journal_outlives_a_kill(tmp_path: Path) -> None:
    state, journal = tmp_path / "sink.json", tmp_path / "sink.jsonl"
    files = ("--journal", str(journal), "--state", str(state))
    process = subprocess.Popen([sys.executable, "-m", "local.sink", *files], env=base_environment())
    try:
        wait_until(state.exists, "the sink listens")
        host, _, port = json.loads(state.read_bytes())["address"].rpartition(":")
        client = smtplib.SMTP(host, int(port))
        client.sendmail(SENDER, "ok-1@d.example", content())
        process.send_signal(signal.SIGKILL)
    finally:
        process.kill()
        process.wait(PATIENCE_S)
    client.close()
    assert len(journal.read_bytes().splitlines()) == 1


def test_an_address_that_is_taken_ends_the_start_with_3(sink: Sink) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "local.sink", "--listen", sink.address],
        env=base_environment(),
        capture_output=True,
        check=False,
        timeout=PATIENCE_S,
    )
    assert ended.returncode == 3
    assert b"cannot listen" in ended.stderr


def test_what_comes_back_goes_to_the_return_path_with_the_null_sender(tmp_path: Path) -> None:
    for name in ("door", "sink"):
        (tmp_path / name).mkdir()
    with (
        running_sink(tmp_path / "door") as door,
        running_sink(tmp_path / "sink", "--returns-to", f"{door.host}:{door.port}") as sink,
        smtplib.SMTP(sink.host, sink.port, timeout=PATIENCE_S) as client,
    ):
        for recipient in ("return-1@d.example", "complain-1@d.example", "ok-1@d.example"):
            client.sendmail(SENDER, recipient, content())
        wait_until(lambda: len(door.lines()) == 2, "both reports are there")
        assert {(line["mail_from"], line["rcpt"]) for line in door.lines()} == {("", SENDER)}
