"""A message out and its bounce back: what deliver signed is what the bounce door verifies."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from local.stack import Stack
from shared.mail import verp
from shared.registry.client import Client, Code
from shared.registry.store import publish
from shared.registry.store.changes import Changes
from shared.settings.sections import KafkaSettings
from shared.topics.records import EventType, ReturnAddressKind, Returned
from tests.support.bounce_door import all_returned, at_bounce_door
from tests.support.keeping_server import KEPT_DOMAIN, ReturnedLine
from tests.support.patience import PATIENCE_S
from tests.support.returned_mail import feedback_on
from tests.support.returns_bench import ReturnsBench
from tests.support.smtp_peers import wait_until, whole_lines
from tests.support.stream_topics import submit_by_kafka

pytestmark = pytest.mark.xdist_group("returned-round")

DOMAIN = "news.round.example"
RECIPIENT = "ok-Max@r.example.net"
CLIENT = Client(
    "round", DOMAIN, "back@round.example.org", "standard", codes={"spring": Code("S-1", "shop")}
)
MESSAGE = (
    f"From: News <news@{DOMAIN}>\r\nTo: {RECIPIENT}\r\nSubject: Sale\r\nX-bm-mailing: spring\r\n"
    f"Message-ID: <sale@{DOMAIN}>\r\n\r\nHello\r\n"
).encode()


@pytest.fixture
def stack(returned_line: ReturnedLine) -> Stack:
    return returned_line.stack


def sent(journal: Path, recipient: str = RECIPIENT) -> list[dict[str, Any]]:
    return [line for line in whole_lines(journal) if line["rcpt"] == recipient]


def submit(kafka: str, content: bytes) -> None:
    publish.apply(KafkaSettings(bootstrap=kafka), Changes(added=(CLIENT,)))
    submit_by_kafka(kafka, CLIENT.name, content)


def test_the_bounce_of_a_message_comes_back_with_its_mail_id_mailing_and_recipient(
    stack: Stack,
) -> None:
    kafka = stack.endpoints.kafka
    submit(kafka, MESSAGE)
    wait_until(lambda: bool(sent(stack.sink_journal)), "the message has arrived")
    (line,) = sent(stack.sink_journal)
    return_path = line["mail_from"]
    assert verp.is_return_path(return_path)
    with at_bounce_door(stack) as smtp:
        smtp.sendmail("", [return_path.upper()], b"Subject: Undelivered\r\n\r\nno such user\r\n")
    # Other modules have the same pipeline.
    (found,) = [
        each
        for each, _ in all_returned(kafka)
        if each.client == CLIENT.name and each.address_kind is ReturnAddressKind.RETURN_PATH
    ]
    assert found == Returned(
        return_id=found.return_id,
        client=CLIENT.name,
        recipient=return_path,
        sender="",
        received_at_ms=found.received_at_ms,
        address_kind=ReturnAddressKind.RETURN_PATH,
        peer="127.0.0.1",
        mailing_id="S-1",
        sub_client="shop",
        mail_id=found.mail_id,
        recipient_hash=verp.recipient_hash(found.mail_id, RECIPIENT.lower()),
    )


def test_a_complaint_that_hides_its_recipient_and_the_return_path_suppresses_it(
    returned_line: ReturnedLine,
) -> None:
    """Our own token in the header that the provider returns proves message and recipient."""
    stack, reader = returned_line.stack, f"hidden-Eva@{KEPT_DOMAIN}"
    kafka = stack.endpoints.kafka
    submit(kafka, MESSAGE.replace(RECIPIENT.encode(), reader.encode()))
    wait_until(lambda: bool(returned_line.kept.of(reader)), "the message has arrived", PATIENCE_S)
    (original,) = returned_line.kept.of(reader)
    hidden = original.replace(reader.encode(), b"redacted@redacted.invalid")
    report = feedback_on(hidden.decode().replace("\r\n", "\n"))
    with at_bounce_door(stack) as smtp:
        smtp.sendmail("fbl@provider.example", [f"abuse@{DOMAIN}"], report)

    def complained() -> list[str]:
        events = ReturnsBench(kafka, "").events()
        return [each.data.recipient for each in events if each.type is EventType.COMPLAINED]

    wait_until(lambda: reader in complained(), "the complaint counts", PATIENCE_S)


def test_a_message_that_a_server_refuses_goes_back_to_the_forwarding_address_once(
    stack: Stack,
) -> None:
    refused = "bounce-Eva@r.example.net"
    submit(stack.endpoints.kafka, MESSAGE.replace(RECIPIENT.encode(), refused.encode()))

    def reports() -> list[dict[str, Any]]:
        back = sent(stack.sink_journal, CLIENT.forwarding_address)
        return [each for each in back if each["message_id"].startswith("<sluice-fw-")]

    def given_up() -> list[Returned]:
        found = [returned for returned, _ in all_returned(stack.endpoints.kafka)]
        return [each for each in found if each.address_kind is ReturnAddressKind.UNDELIVERED]

    wait_until(lambda: bool(given_up()), "deliver has given it up", PATIENCE_S)
    (found,) = given_up()
    assert (found.client, found.kind, found.mailing_id) == (CLIENT.name, "hard", "S-1")
    assert found.recipient.lower() == refused.lower()
    arrived = f"<sluice-fw-{found.return_id}-"
    wait_until(
        lambda: any(each["message_id"].startswith(arrived) for each in reports()),
        "the report has arrived",
        PATIENCE_S,
    )
    ours = [each for each in reports() if each["message_id"].startswith(arrived)]
    assert [(each["mail_from"], each["verdict"]) for each in ours] == [("", "accepted")]
