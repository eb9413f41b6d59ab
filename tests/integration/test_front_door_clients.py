"""Foreign clients with a real front door: over TLS, logged in, byte for byte."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.topics.records import Message
from tests.support.foreign_clients import CLIENTS, EXAMPLES, Delivery, nodemailer
from tests.support.front_door import (
    CLIENT,
    DOMAIN,
    SENDER,
    Door,
    connected,
    message,
    running_door,
    submit,
)
from tests.support.patience import PATIENCE_S
from tests.support.received import Received

pytestmark = pytest.mark.xdist_group("front-door-clients")

_DATE = "Date: Tue, 24 Nov 2026 10:00:00 +0000\r\n"
# A dot at the start of a line, and an unterminated last line: a client must keep both.
_BODY = "Hello\r\n.\r\n..two\r\n\r\nlast"


@pytest.fixture(scope="module")
def door(kafka_bootstrap: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    with running_door(kafka_bootstrap, tmp_path_factory.mktemp("clients"), CLIENT) as running:
        yield running


@pytest.fixture(scope="module")
def received(kafka_bootstrap: str) -> Iterator[Received]:
    with Received(kafka_bootstrap) as following:
        yield following


def parcel_of(door: Door, folder: Path, name: str, content: bytes) -> Delivery:
    path = folder / "message.eml"
    path.write_bytes(content)
    return Delivery(door, path, f"{name}@r.example.net", folder)


def mail_id(text: str) -> str:
    found = re.findall(r"250 2\.0\.0 Ok: queued as ([0-9A-Z]{26})\b", text)
    assert found, text
    return str(found[-1])


def only(messages: list[Message]) -> Message:
    (found,) = messages
    return found


@pytest.mark.parametrize("name", CLIENTS)
def test_a_client_hands_in_a_message_byte_for_byte_and_is_told_its_mail_id(
    door: Door, received: Received, tmp_path: Path, name: str
) -> None:
    content = message(name, _DATE, _BODY)
    answer = CLIENTS[name](parcel_of(door, tmp_path, name, content))
    assert answer.code == 0, answer.text
    found = only(received.by_id(f"<{name}@{DOMAIN}>"))
    assert found.content == content
    assert found.envelope.mail_id == mail_id(answer.text)


@pytest.mark.parametrize("name", CLIENTS)
def test_a_client_is_told_the_rule_that_refuses_its_message(
    door: Door, tmp_path: Path, name: str
) -> None:
    content = message(f"{name}-cc", f"{_DATE}Cc: other@r.example.net\r\n", _BODY)
    answer = CLIENTS[name](parcel_of(door, tmp_path, f"{name}-cc", content))
    assert answer.code != 0
    assert re.search(r"550[ -]5\.6\.0 R5 \(5\.6\.0\): Cc and Bcc", answer.text), answer.text


def test_a_pool_of_nodemailer_hands_in_what_it_composed_itself(
    door: Door, received: Received, tmp_path: Path
) -> None:
    mails = []
    for number in range(20):
        fields = tmp_path / f"{number}.json"
        told = {"subject": f"Grüße {number}", "text": "Größe", "messageId": f"<{number}@{DOMAIN}>"}
        fields.write_text(json.dumps(told))
        mails.append((f"pool-{number}@r.example.net", fields))
    answer = nodemailer(Delivery(door, tmp_path, "", tmp_path), "starttls", mails)
    assert answer.code == 0, answer.text
    found = [only(received.by_id(f"<{number}@{DOMAIN}>")) for number in range(20)]
    assert set(re.findall(r"queued as (\w+)", answer.text)) == {m.envelope.mail_id for m in found}
    assert [m.envelope.recipient for m in found] == [recipient for recipient, _ in mails]


@pytest.mark.parametrize("name", ["smtplib-starttls", "curl-tls-login", "swaks-starttls-plain"])
def test_eight_bit_content_arrives_as_it_was_sent(
    door: Door, received: Received, tmp_path: Path, name: str
) -> None:
    kind = 'MIME-Version: 1.0\r\nContent-Type: text/plain; charset="utf-8"\r\n'
    extra = f"{kind}Content-Transfer-Encoding: 8bit\r\n{_DATE}"
    content = message(f"{name}-8bit", extra, "Größe, 尺寸")
    answer = CLIENTS[name](parcel_of(door, tmp_path, f"{name}-8bit", content))
    assert answer.code == 0, answer.text
    assert only(received.by_id(f"<{name}-8bit@{DOMAIN}>")).content == content


@pytest.mark.parametrize("name", ["smtplib-starttls"])
def test_an_address_that_is_not_ascii_is_taken_with_smtputf8(
    door: Door, received: Received, tmp_path: Path, name: str
) -> None:
    content = message("grüße", _DATE)
    content = content.replace("<grüße@".encode(), f"<{name}-utf8@".encode())
    answer = CLIENTS[name](parcel_of(door, tmp_path, "grüße", content))
    assert answer.code == 0, answer.text
    found = only(received.by_id(f"<{name}-utf8@{DOMAIN}>"))
    assert found.content == content
    assert found.envelope.recipient == "grüße@r.example.net"


def test_an_address_that_is_not_ascii_needs_smtputf8(door: Door) -> None:
    with connected(door) as smtp:
        smtp.command_encoding = "utf-8"
        assert smtp.mail(SENDER)[0] == 250
        code, text = smtp.rcpt("grüße@r.example.net")
        assert (code, text[:5]) == (553, b"5.6.7")
        assert smtp.rset()[0] == 250
        assert submit(smtp, message("without"), "without@r.example.net")[0] == 250


@pytest.mark.parametrize(
    ("count", "code"), [(6, 75), (5, 2)], ids=["nobody listens", "an argument is missing"]
)
def test_the_example_in_python_gives_up_no_message_that_no_server_refused(
    tmp_path: Path, count: int, code: int
) -> None:
    path = tmp_path / "message.eml"
    path.write_bytes(message("nobody", _DATE, _BODY))
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
    words = ["127.0.0.1", port, "starttls", "shop", "a@r.example.net", str(path)]
    done = subprocess.run(
        [sys.executable, EXAMPLES / "submit_smtplib.py", *words[:count]],
        env={**os.environ, "SLUICE_PASSWORD": "secret"},
        capture_output=True,
        check=False,
        timeout=PATIENCE_S,
    )
    assert done.returncode == code, done.stderr
