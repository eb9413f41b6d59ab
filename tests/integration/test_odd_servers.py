"""Servers with odd replies beside normal ones, on a real deliver: each message gets its event."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Iterator

import pytest
from kafka import KafkaProducer

from local.stack import Stack, StackOptions
from shared.topics import ids, names
from shared.topics.codec import encode_pack
from shared.topics.records import Envelope, Event, EventType, Facts, Message, Origin
from tests.support.chaos.witnesses import EventWatch
from tests.support.fork_server import fork
from tests.support.patience import PATIENCE_S
from tests.support.scripted_smtp import Script, scripted

# The pipeline of this module is started once, even if the tests run in several processes.
pytestmark = pytest.mark.xdist_group("odd-servers")

CLIENT = "odd"
SENDER = "news@news.odd.example"
MESSAGES_EACH = 3
GOOD = 30
SERVERS: dict[str, Script] = {
    "latin1-greeting.example": {"greeting": b"554 Acc\xe8s refus\xe9\r\n"},
    "gbk-greeting.example": {"greeting": b"421 4.3.2 " + "服务不可用".encode("gbk") + b"\r\n"},
    "latin1-ehlo.example": {
        "EHLO": b"550 5.7.1 Acc\xe8s refus\xe9\r\n",
        "HELO": b"550 5.7.1 Acc\xe8s refus\xe9\r\n",
    },
    "escape-rcpt.example": {
        "RCPT": b"550-5.1.1 \x1b[2J\x00\r\n550 5.1.1 inconnu \xe0 jamais\r\n",
        "DATA": b"554 none\r\n",
    },
    "long-rcpt.example": {"RCPT": b"450 4.2.0 " + b"x" * 1_900 + b"\r\n", "DATA": b"554 none\r\n"},
}
# The event's kind, and the start of its reply.
EXPECTED = {
    "latin1-greeting.example": (EventType.DEFERRED, "554 Acc\ufffds refus\ufffd"),
    "gbk-greeting.example": (EventType.DEFERRED, "421 4.3.2 \ufffd"),
    "latin1-ehlo.example": (EventType.DEFERRED, "550 5.7.1 Acc\ufffds refus\ufffd"),
    "escape-rcpt.example": (EventType.BOUNCED, "550 5.1.1  [2J  / inconnu \ufffd jamais"),
    "long-rcpt.example": (EventType.DEFERRED, "450 4.2.0 xxx"),
}


@pytest.fixture(scope="module")
def addresses() -> Iterator[dict[str, str]]:
    """The addresses of the servers by domain; they run in a separate loop."""
    found: dict[str, str] = {}
    loop = asyncio.new_event_loop()
    ready, end = threading.Event(), asyncio.Event()

    async def serve() -> None:
        async with asyncio.TaskGroup() as group:
            for domain, script in SERVERS.items():
                group.create_task(one(domain, script))

    async def one(domain: str, script: Script) -> None:
        async with scripted(lambda number: script) as server:
            found[domain] = server.address
            if len(found) == len(SERVERS):
                ready.set()
            await end.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()))
    thread.start()
    assert ready.wait(PATIENCE_S)
    yield found
    loop.call_soon_threadsafe(end.set)
    thread.join()
    loop.close()


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, addresses: dict[str, str]) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("odd")
    first = Stack(StackOptions(name="odd", folder=folder, services=(), is_lasting=False))
    assert first.endpoints.sink is not None
    routes = {**addresses, "*": first.endpoints.sink}
    env = {"deliver": {"SLUICE_DELIVER__ROUTES": json.dumps(routes)}}
    options = StackOptions(
        name="odd",
        start=fork,
        folder=folder,
        services=("deliver",),
        restart=False,
        is_lasting=False,
        part_env=env,
    )
    with Stack(options) as stack:
        yield stack


def message(recipient: str) -> Message:
    """A message as validate passes it to deliver."""
    now_ms = int(time.time() * 1000)
    message_id = f"<{recipient}>"
    envelope = Envelope(
        mail_id=ids.time_letters(now_ms) + ids.random_part(recipient.encode().ljust(16)[:16]),
        client=CLIENT,
        sender=SENDER,
        recipient=recipient,
        message_id=message_id,
        received_at_ms=now_ms,
        origin=Origin(),
        facts=Facts(size_bytes=100),
        lane="default",
    )
    head = (
        f"From: {SENDER}\r\nTo: {recipient}\r\nSubject: x\r\nMessage-ID: {message_id}\r\n\r\nx\r\n"
    )
    return Message(envelope, head.encode())


@pytest.fixture(scope="module")
def events(stack: Stack) -> Iterator[dict[str, list[Event]]]:
    """The events by the recipient's domain, once each message has one."""
    watch = EventWatch(stack.endpoints.kafka)
    producer = KafkaProducer(bootstrap_servers=stack.endpoints.kafka, metrics_enabled=False)
    recipients = [f"{n}@{domain}" for domain in SERVERS for n in range(MESSAGES_EACH)]
    recipients += [f"ok-{number}@good.example" for number in range(GOOD)]
    sent = []
    for recipient in recipients:
        value, headers = encode_pack([message(recipient)])
        sent.append(producer.send(names.OUTBOUND_PREFIX + "default", value, headers=headers))
    for each in sent:
        each.get(timeout=PATIENCE_S)
    producer.close(timeout=10)
    deadline = time.monotonic() + PATIENCE_S
    told: tuple[Event, ...] = ()
    while len({event.data.recipient for event in told}) < len(recipients):
        assert stack.process("deliver").runs
        assert time.monotonic() < deadline, f"{len(told)} of {len(recipients)}"
        time.sleep(0.1)
        told = watch.events(frozenset({CLIENT}))
    found: dict[str, list[Event]] = {}
    for event in told:
        found.setdefault(event.data.recipient.partition("@")[2], []).append(event)
    yield found
    watch.close()


@pytest.mark.parametrize("domain", SERVERS)
def test_what_an_odd_server_said_is_in_the_event_in_clean_text(
    events: dict[str, list[Event]], domain: str
) -> None:
    kind, words = EXPECTED[domain]
    told = events[domain]
    assert {event.type for event in told} == {kind}
    assert {event.data.recipient for event in told} == {
        f"{n}@{domain}" for n in range(MESSAGES_EACH)
    }
    for event in told:
        assert event.data.reply.startswith(words)
        assert len(event.data.reply.encode()) <= 1_024


def test_good_mail_goes_out_beside_them_and_deliver_goes_on(
    events: dict[str, list[Event]], stack: Stack
) -> None:
    assert [event.type for event in events["good.example"]] == [EventType.DELIVERED] * GOOD
    assert stack.process("deliver").runs
