"""A bounce door as a process of a test, sessions with it, and the records on mail.returned."""

from __future__ import annotations

import json
import smtplib
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from local.parts import ports
from local.stack import Stack
from shared.mail import verp
from shared.mail.verp import Keys, ReturnPath
from shared.registry.client import Client, Code
from shared.topics import ids, names
from shared.topics.codec import decode_returned
from shared.topics.records import Returned
from tests.support.chaos.witnesses import follow
from tests.support.front_door import Door, register, start

HOST: Final = "mx.returns.example"
DOMAIN: Final = "news.returns.example"
CLIENT: Final = Client(
    "returns-client",
    DOMAIN,
    "back@returns.example.org",
    "returns-mailing",
    codes={"spring": Code("spring-mailing", "shop")},
)
KEYS_TEXT: Final = f"7 2026-01-01 {'5a' * 32}\n"
KEYS: Final = verp.parse_keys(KEYS_TEXT)
RECIPIENT: Final = "max@r.example.net"
MAIL_ID: Final = ids.from_bytes(bytes(range(16)))
DAY_MS: Final = verp.DAY_MS


def local_part(
    day: int, *, keys: Keys = KEYS, client: Client = CLIENT, mail_id: str = MAIL_ID
) -> str:
    """Return a return path of a message of the mailing `spring-mailing`."""
    path = ReturnPath(
        day,
        verp.mailing_hash("spring-mailing", "shop"),
        verp.recipient_hash(mail_id, RECIPIENT),
        mail_id,
    )
    return verp.encode(keys, client.name, path)


def return_path(mail_id: str = MAIL_ID) -> str:
    """Return the address to which bounces of a message of today are sent."""
    day = verp.day_of(int(time.time() * 1000))
    return f"{local_part(day, mail_id=mail_id)}@{DOMAIN}"


@contextmanager
def running_bounce_door(
    bootstrap: str, folder: Path, *clients: Client, **settings: str
) -> Iterator[Door]:
    """Run an ingest with a bounce door; Door.port is that of the bounce door."""
    register(bootstrap, *(clients or (CLIENT,)))
    (port,) = ports.free_ports(1)
    keys_file = folder / "return-keys"
    keys_file.write_text(KEYS_TEXT)
    env = {
        "SLUICE_RETURN_PATH__KEYS_FILE": str(keys_file),
        "SLUICE_INGEST__BOUNCE_LISTEN": json.dumps([f"127.0.0.1:{port}"]),
        "SLUICE_INGEST__BOUNCE_HOST_NAME": HOST,
        **{
            key if key.startswith("SLUICE_") else f"SLUICE_INGEST__{key.upper()}": value
            for key, value in settings.items()
        },
    }
    door = start(bootstrap, folder, **env)
    try:
        yield Door(door.process, port, door.tls_port, bootstrap, door.certificate, door.http_port)
    finally:
        door.process.end(30)


def at_bounce_door(stack: Stack, timeout_s: float = 120) -> smtplib.SMTP:
    """Return a session at the bounce door of a pipeline."""
    assert stack.endpoints.bounce is not None
    host, _, port = stack.endpoints.bounce.rpartition(":")
    return smtplib.SMTP(host, int(port), timeout=timeout_s)


def all_returned(bootstrap: str) -> list[tuple[Returned, bytes]]:
    """Return all records on mail.returned."""
    consumer: Any = follow(bootstrap, names.RETURNED)
    try:
        parts = list(consumer.assignment())
        ends = consumer.end_offsets(parts)
        found: list[tuple[Returned, bytes]] = []
        while any(consumer.position(part) < ends[part] for part in parts):
            for records in consumer.poll(timeout_ms=200).values():
                found += [
                    (decode_returned(record.value, record.headers), record.value)
                    for record in records
                ]
        return found
    finally:
        consumer.close(autocommit=False)
