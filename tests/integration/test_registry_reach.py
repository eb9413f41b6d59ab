"""How soon a running ingest and a running validate follow changes by `clients apply`.

The figures are printed (pytest -s); the tests assert only that each change arrives, so that a busy
machine fails nothing. docs/clients.md has figures.
"""

from __future__ import annotations

import itertools
import smtplib
import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from local.parts import ports
from local.parts.services import ServicePlan, is_ready, service_process
from local.process import Process
from shared.mail.headers import scan
from shared.registry.client import Client
from shared.registry.credentials import make_credential
from shared.registry.removal import MailChoice, Removal
from shared.registry.store.changes import Changes, plan_changes
from shared.registry.store.publish import change, change_all
from shared.registry.store.removing import plan_removal
from shared.settings.sections import KafkaSettings
from shared.stream import outputs
from shared.stream.client import ClientOptions, make_producer
from shared.topics import ids, names
from shared.topics.codec import decode_event
from shared.topics.records import Envelope, Event, EventType, Message, Origin
from tests.support.chaos.witnesses import follow
from tests.support.front_door import PASSWORD, Door, start, trusting
from tests.support.patience import PATIENCE_S
from tests.support.smtp_peers import wait_until

# One front door for this module, even if the tests run in several processes.
pytestmark = pytest.mark.xdist_group("registry-reach")

STEP_S = 0.1
TRIES_AT_ONCE = 8
CLIENT = Client("reach", "news.reach.example", "back@reach.example.org", "M-1")
CHANGED_PASSWORD = "another-horse-battery"


@pytest.fixture(scope="module")
def kafka(kafka_bootstrap: str) -> KafkaSettings:
    return KafkaSettings(bootstrap=kafka_bootstrap)


@pytest.fixture(scope="module")
def door(kafka_bootstrap: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    # The reply to a failed login is delayed, and some logins fail here until the change arrives.
    running = start(
        kafka_bootstrap,
        tmp_path_factory.mktemp("reach"),
        SLUICE_INGEST__SMTP_MAX_FAILED_LOGINS="1000",
    )
    yield running
    running.process.end(30)


@contextmanager
def running_validate(kafka: KafkaSettings, redis_url: str, folder: Path) -> Iterator[None]:
    (port,) = ports.free_ports(1)
    env = {
        "SLUICE_KAFKA__BOOTSTRAP": kafka.bootstrap,
        "SLUICE_REDIS__URL": redis_url,
    }
    process = Process(service_process(ServicePlan("validate", port, env)), folder / "validate.log")
    wait_until(lambda: is_ready(port) or not process.runs, "validate is ready")
    assert process.runs, process.log_tail()
    try:
        yield
    finally:
        process.end(30)


def applied(kafka: KafkaSettings, client: Client) -> float:
    """Apply a file with only this client; return the time of the acknowledgement."""
    change(kafka, lambda registered: plan_changes([client], registered))
    return time.monotonic()


def removed(kafka: KafkaSettings, client: Client) -> float:
    change(kafka, lambda _: Changes(removed=(client.name,)))
    return time.monotonic()


def kept(kafka: KafkaSettings, client: Client) -> float:
    """Remove a client as the command does; return the time of the acknowledgement."""
    now_ms = int(time.time() * 1000)
    removal = Removal(MailChoice.REFUSE, now_ms, now_ms + 86_400_000)
    change_all(kafka, lambda all_, gone: plan_removal([client.name], all_, gone, removal, {}))
    return time.monotonic()


def refused_login(door: Door, name: str, password: str) -> tuple[int, bytes]:
    """The reply to a login that is refused, up to its first semicolon."""
    with pytest.raises(smtplib.SMTPAuthenticationError) as caught:
        session(door, name, password)
    said = caught.value.smtp_error
    assert isinstance(said, bytes)
    return caught.value.smtp_code, said.partition(b";")[0]


def with_password(client: Client, password: str) -> Client:
    credential = make_credential(password, int(time.time() * 1000))
    return replace(client, credentials=(credential,))


def tell(what: str, seconds: float) -> None:
    print(f"\n{what}: seen {seconds * 1000:.0f} ms after the apply was acknowledged")


def first_login(door: Door, name: str, password: str) -> float:
    """When the front door first accepted this password. Refusals are slow, so attempts overlap."""

    def attempt() -> float | None:
        with smtplib.SMTP("127.0.0.1", door.port, timeout=PATIENCE_S) as smtp:
            smtp.ehlo()
            smtp.starttls(context=trusting())
            smtp.ehlo()
            smtp.user, smtp.password = name, password
            try:
                smtp.auth("PLAIN", smtp.auth_plain)
            except smtplib.SMTPAuthenticationError:
                return None
            return time.monotonic()

    give_up_at = time.monotonic() + PATIENCE_S
    running: set[Future[float | None]] = set()
    with ThreadPoolExecutor(TRIES_AT_ONCE) as pool:
        while time.monotonic() < give_up_at:
            if len(running) < TRIES_AT_ONCE:
                running.add(pool.submit(attempt))
            done, running = wait(running, STEP_S, FIRST_COMPLETED)
            if seen := [moment for one in done if (moment := one.result()) is not None]:
                return min(seen)
    raise AssertionError(f"{name} is not let in within {PATIENCE_S} s")


def first_refusal(smtp: smtplib.SMTP, sender: str) -> float:
    """When an open session first got the reply that its client may not send."""
    give_up_at = time.monotonic() + PATIENCE_S
    while smtp.mail(sender)[0] == 250:
        smtp.rset()
        assert time.monotonic() < give_up_at, f"{sender} may still send after {PATIENCE_S} s"
    return time.monotonic()


def session(door: Door, name: str, password: str) -> smtplib.SMTP:
    smtp = smtplib.SMTP("127.0.0.1", door.port, timeout=PATIENCE_S)
    smtp.ehlo()
    smtp.starttls(context=trusting())
    smtp.ehlo()
    smtp.login(name, password)
    return smtp


def test_a_running_front_door_follows_new_changed_and_removed_clients(
    kafka: KafkaSettings, door: Door
) -> None:
    name, sender = CLIENT.name, f"news@{CLIENT.sending_domain}"
    client = with_password(CLIENT, PASSWORD)
    began = applied(kafka, client)
    tell("a new client", first_login(door, name, PASSWORD) - began)

    with session(door, name, PASSWORD) as smtp:
        began = applied(kafka, replace(client, ips=("192.0.2.0/24",)))
        tell("changed ips", first_refusal(smtp, sender) - began)
    applied(kafka, client)

    other = with_password(client, CHANGED_PASSWORD)
    change(kafka, lambda _: Changes(changed=(other,)))
    began = time.monotonic()
    tell("changed credentials", first_login(door, name, CHANGED_PASSWORD) - began)

    with session(door, name, CHANGED_PASSWORD) as smtp:
        began = kept(kafka, client)
        tell("a removed client", first_refusal(smtp, sender) - began)
    # Only a login with the right password learns that there was such a client.
    assert refused_login(door, name, CHANGED_PASSWORD) == (525, b"5.7.13 This client was removed")
    assert refused_login(door, name, PASSWORD)[0] == 535


class Probes:
    """Repeatedly writes a message of the client to mail.received, each with its own id."""

    def __init__(self, kafka: KafkaSettings, client: Client) -> None:
        self._producer = make_producer(ClientOptions(kafka.bootstrap, "reach"), None, linger_ms=0)
        self._client = client
        self._numbers = itertools.count()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.wait(STEP_S / 2):
            topic, value, key, headers, partition = outputs.pack(names.RECEIVED, [self._message()])
            self._producer.send(topic, value, key, list(headers), partition)

    def _message(self) -> Message:
        domain, number = self._client.sending_domain, next(self._numbers)
        content = (
            f"From: a@{domain}\r\nTo: b@probe.example\r\nSubject: hello\r\n"
            f"Message-ID: <{number}@{domain}>\r\n\r\nx"
        ).encode()
        now_ms = int(time.time() * 1000)
        envelope = Envelope(
            mail_id=ids.time_letters(now_ms) + ids.random_part(uuid.uuid4().bytes),
            client=self._client.name,
            sender=f"a@{domain}",
            recipient="b@probe.example",
            message_id=f"<{number}@{domain}>",
            received_at_ms=now_ms,
            origin=Origin(peer="192.0.2.1"),
            facts=scan(content),
        )
        return Message(envelope, content)

    def close(self) -> None:
        self._stop.set()
        self._thread.join(PATIENCE_S)
        self._producer.close(timeout=5)


def first_event(consumer: Any, name: str, kind: EventType) -> float:
    """When validate first gave a message of this client this verdict (Unix seconds)."""
    give_up_at = time.monotonic() + PATIENCE_S
    while time.monotonic() < give_up_at:
        for records in consumer.poll(timeout_ms=100).values():
            for record in records:
                event = decode_event(record.headers, record.value)
                if isinstance(event, Event) and (event.type, event.data.client) == (kind, name):
                    return event.data.at_ms / 1000
    raise AssertionError(f"no message of {name} was {kind.value} within {PATIENCE_S} s")


def test_a_running_validate_follows_changed_and_removed_clients(
    kafka: KafkaSettings, redis_url: str, tmp_path: Path
) -> None:
    client = replace(CLIENT, name="reach-validate", sending_domain="validate.reach.example")
    applied(kafka, client)
    with running_validate(kafka, redis_url, tmp_path):
        probes, consumer = Probes(kafka, client), follow(kafka.bootstrap, names.EVENTS)
        try:
            applied(kafka, replace(client, block_list=("b@probe.example",)))
            began = time.time()
            seen = first_event(consumer, client.name, EventType.SUPPRESSED)
            tell("a changed block list", seen - began)
            removed(kafka, client)
            began = time.time()
            seen = first_event(consumer, client.name, EventType.REFUSED)
            tell("a removed client, by validate", seen - began)
        finally:
            probes.close()
            consumer.close(autocommit=False)
