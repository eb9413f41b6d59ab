"""What comes back of a removed client's mail: links, returned mail, and the end of both."""

from __future__ import annotations

import urllib.error
import urllib.request
import uuid
from email import message_from_bytes
from typing import Final

import pytest

from local.stack import Stack
from shared.registry.client import Client
from shared.registry.removal import DAY_MS, MailChoice, Removal
from shared.registry.store import publish
from shared.registry.store.changes import Changes
from shared.registry.store.removing import plan_forgetting, plan_removal
from shared.runtime.clock import now_ms
from shared.settings.sections import KafkaSettings
from tests.support.bounce_door import at_bounce_door
from tests.support.keeping_server import KEPT_DOMAIN, ReturnedLine
from tests.support.patience import PATIENCE_S
from tests.support.smtp_peers import wait_until
from tests.support.stream_topics import submit_by_kafka

pytestmark = pytest.mark.xdist_group("returned-round")

ONE_CLICK: Final = b"List-Unsubscribe=One-Click"


def click(link: str) -> int:
    try:
        with urllib.request.urlopen(link, ONE_CLICK, timeout=PATIENCE_S) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def send_back(stack: Stack, recipient: str) -> int:
    """The reply to RCPT at the bounce door, which takes the message if it is positive."""
    with at_bounce_door(stack, PATIENCE_S) as smtp:
        smtp.ehlo()
        smtp.mail("someone@far.example")
        code, _ = smtp.rcpt(recipient)
        if code == 250:
            assert smtp.data(b"From: someone@far.example\r\nSubject: Hello\r\n\r\nx\r\n")[0] == 250
        return code


def test_links_work_and_mail_comes_back_until_the_client_is_forgotten(
    returned_line: ReturnedLine,
) -> None:
    stack, kept = returned_line.stack, returned_line.kept
    kafka = KafkaSettings(bootstrap=stack.endpoints.kafka)
    name = f"r-{uuid.uuid4().hex[:8]}"
    domain, reader = f"news.{name}.example", f"{name}@{KEPT_DOMAIN}"
    client = Client(name, domain, f"back@{name}.example.org", "standard")
    publish.apply(kafka, Changes(added=(client,)))
    content = (
        f"From: a@{domain}\r\nTo: {reader}\r\nSubject: Sale\r\n"
        f"Message-ID: <1@{domain}>\r\n\r\nHello to you\r\n"
    )
    submit_by_kafka(kafka.bootstrap, name, content.encode())
    wait_until(lambda: bool(kept.of(reader)), "the message has arrived")
    field = message_from_bytes(kept.of(reader)[0])["List-Unsubscribe"]
    link = str(field).split(",")[0].strip().strip("<>")

    removal = Removal(MailChoice.DELIVER, now_ms(), now_ms() + DAY_MS)
    publish.change_all(kafka, lambda all_, gone: plan_removal([name], all_, gone, removal, {}))
    assert send_back(stack, f"postmaster@{domain}") == 250
    journal, back = stack.sink_journal, client.forwarding_address
    wait_until(lambda: back in journal.read_text(), "the message is forwarded")
    assert click(link) == 200

    publish.change_all(kafka, lambda _, gone: plan_forgetting(name, gone))
    wait_until(lambda: click(link) == 410, "the link has ended")
    # The bounce door is another process than the one that answers clicks.
    wait_until(lambda: send_back(stack, f"postmaster@{domain}") == 550, "so have the addresses")
