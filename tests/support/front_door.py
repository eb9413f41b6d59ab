"""A front door as a process of a test, the mail submitted to it, and where that mail arrives."""

from __future__ import annotations

import json
import smtplib
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from local.parts import ports
from local.parts.credentials import make_certificate
from local.parts.services import ServicePlan, is_ready, service_process
from local.process import Process
from local.stack import Stack
from shared.registry.client import Client
from shared.registry.credentials import make_credential
from shared.registry.store import publish
from shared.registry.store.changes import Changes
from shared.settings.sections import KafkaSettings
from shared.topics import names
from shared.topics.codec import decode_event, decode_pack
from shared.topics.event_records import Tally
from shared.topics.records import Event, Message
from tests.support.certificates import self_signed
from tests.support.chaos.witnesses import follow
from tests.support.fork_server import fork
from tests.support.patience import PATIENCE_S
from tests.support.smtp_peers import wait_until

NAME = "door-client"
DOMAIN = "news.door.example"
SENDER = f"news@{DOMAIN}"
PASSWORD = "correct-horse-battery"
CLIENT = Client(NAME, DOMAIN, "back@door.example.org", "door-mailing")
ELSEWHERE = replace(
    CLIENT, name="door-elsewhere", sending_domain="else.door.example", ips=("192.0.2.0/24",)
)


class Door(Struct, frozen=True):
    """A running ingest with a front door."""

    process: Process
    port: int
    tls_port: int
    bootstrap: str
    certificate: Path = Path()
    http_port: int = 0


def start(bootstrap: str, folder: Path, **settings: str) -> Door:
    certificate, key = self_signed(folder)
    port, tls_port, http_port = ports.free_ports(3)
    env = {
        "SLUICE_KAFKA__BOOTSTRAP": bootstrap,
        # Two processes with one name would fence each other's transactions.
        "SLUICE_RUNTIME__INSTANCE": f"door-{port}",
        "SLUICE_INGEST__SMTP_LISTEN": json.dumps([f"127.0.0.1:{port}"]),
        "SLUICE_INGEST__SMTPS_LISTEN": json.dumps([f"127.0.0.1:{tls_port}"]),
        "SLUICE_INGEST__SMTP_HOST_NAME": "mx.sluice.example",
        "SLUICE_INGEST__TLS_CERTIFICATE_FILE": str(certificate),
        "SLUICE_INGEST__TLS_KEY_FILE": str(key),
        **settings,
    }
    plan = ServicePlan("ingest", http_port, env)
    process = Process(service_process(plan), folder / "ingest.log", fork)
    wait_until(lambda: is_ready(http_port) or not process.runs, "ingest is ready")
    assert process.runs, process.log_tail()
    return Door(process, port, tls_port, bootstrap, certificate, http_port)


def register(bootstrap: str, *clients: Client) -> tuple[Client, ...]:
    """Set PASSWORD for the clients and publish them."""
    credential = make_credential(PASSWORD, int(time.time() * 1000))
    known = tuple(replace(client, credentials=(credential,)) for client in clients)
    publish.apply(KafkaSettings(bootstrap=bootstrap), Changes(added=known))
    return known


def door_of(stack: Stack) -> Door:
    """Return the front door of a whole pipeline."""
    assert stack.endpoints.smtp is not None
    assert stack.endpoints.smtps is not None
    port, tls_port = (
        int(address.rpartition(":")[2]) for address in (stack.endpoints.smtp, stack.endpoints.smtps)
    )
    certificate = make_certificate(stack.folder).certificate
    return Door(stack.process("ingest"), port, tls_port, stack.endpoints.kafka, certificate)


@contextmanager
def running_door(bootstrap: str, folder: Path, *clients: Client, **settings: str) -> Iterator[Door]:
    """Run a front door with these settings of `ingest`; `clients` are registered with PASSWORD."""
    register(bootstrap, *clients)
    door = start(
        bootstrap, folder, **{f"SLUICE_INGEST__{key.upper()}": v for key, v in settings.items()}
    )
    try:
        yield door
    finally:
        door.process.end(30)


def message(name: str, extra: str = "", body: str = "Hello") -> bytes:
    head = (
        f"From: News <{SENDER}>\r\nTo: {name}@r.example.net\r\nSubject: {name}\r\n"
        f"Message-ID: <{name}@{DOMAIN}>\r\n{extra}\r\n"
    )
    return head.encode() + body.encode() + b"\r\n"


def trusting() -> ssl.SSLContext:
    # ssl.create_default_context would read all certificates of the system: 20 ms for each peer.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def connected(door: Door, login: bool = True) -> smtplib.SMTP:
    smtp = smtplib.SMTP("127.0.0.1", door.port, timeout=PATIENCE_S)
    smtp.ehlo()
    smtp.starttls(context=trusting())
    smtp.ehlo()
    if login:
        smtp.login(NAME, PASSWORD)
    return smtp


def submit(smtp: smtplib.SMTP, content: bytes, rcpt: str) -> tuple[int, str]:
    for code, text in (smtp.mail(SENDER), smtp.rcpt(rcpt)):
        assert code == 250, text
    code, text = smtp.data(content)
    return code, text.decode()


def arrived(door: Door, message_id: str) -> list[Message]:
    """Return the copies of a message on mail.received."""
    found: list[Message] = []

    def look(record: Any) -> bool:
        messages = decode_pack(record.value, record.headers)
        found.extend(m for m in messages if m.envelope.message_id == message_id)
        return bool(found)

    read_until(door, names.RECEIVED, look)
    return found


def told(door: Door, recipient: str) -> list[Event | Tally]:
    """Return the refusals of a recipient and all tallies of ingest. Wait first for the refusal and
    the tally that counts it, because they are in different partitions."""
    found: list[Event | Tally] = []
    refused: set[str] = set()
    counted: set[str] = set()

    def look(record: Any) -> bool:
        event = decode_event(record.headers, record.value)
        if isinstance(event, Tally) and event.service == "ingest":
            found.append(event)
            counted.update(mail_id for row in event.rows for mail_id in row.mail_ids)
        if isinstance(event, Event) and event.data.recipient == recipient:
            found.append(event)
            refused.add(event.subject)
        return bool(refused & counted)

    read_until(door, names.EVENTS, look)
    return found


def read_until(door: Door, topic: str, look: Any) -> None:
    consumer = follow(door.bootstrap, topic)
    until = time.monotonic() + PATIENCE_S
    try:
        done = False
        while not done:
            assert time.monotonic() < until, f"nothing came on {topic}"
            for part in consumer.poll(timeout_ms=200).values():
                for record in part:
                    done |= look(record)
    finally:
        consumer.close(autocommit=False)
