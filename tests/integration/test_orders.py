"""Operators' orders on a real pipeline, given by the commands."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import pytest
from kafka import KafkaProducer
from msgspec import Struct

from cli.stack.paths import base_environment
from local.stack import Stack
from services.deliver.core.control.orders import FRESH_S
from shared.registry.client import Client
from shared.registry.store import publish
from shared.registry.store.changes import Changes
from shared.settings.sections import KafkaSettings
from shared.topics import names
from shared.topics.control import PARTITION, Order, Scope, Verb, encode_order
from shared.topics.records import FINAL, Event, EventType
from tests.support.chaos.witnesses import EventWatch
from tests.support.fork_server import run_module
from tests.support.line_asking import knows_all_orders
from tests.support.smtp_peers import wait_until

# One process runs all modules that use this pipeline.
pytestmark = pytest.mark.xdist_group("shared-line")

CLIENT: Final = "ordered"
DOMAIN: Final = "news.ordered.example"


Headers = Sequence[tuple[str, bytes]]


class Place(Struct, frozen=True):
    """A pipeline, its events, and an operator."""

    stack: Stack
    watch: EventWatch
    producer: KafkaProducer

    def shell(self, module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        kafka = {"SLUICE_KAFKA__BOOTSTRAP": self.stack.endpoints.kafka}
        return run_module(module, *arguments, env=kafka)

    def run(self, command: str, *arguments: str, code: int = 0, module: str = "control") -> Any:
        found = self.shell(f"cli.{module}.{command}", *arguments, "--json")
        assert found.returncode == code, found.stderr
        return json.loads(found.stdout)

    def order(self, verb: str, *arguments: str) -> None:
        """Give an order that lasts, or end one, and wait until deliver knows it."""
        self.run(verb, *arguments)
        wait_until(lambda: knows_all_orders(self.stack), "deliver knows the order")

    def submit(self, name: str, domain: str, headers: Headers = ()) -> None:
        content = (
            f"From: News <news@{DOMAIN}>\r\nTo: ok-{name}@{domain}\r\nSubject: {name}\r\n"
            f"Message-ID: <{name}@{DOMAIN}>\r\n\r\nHello\r\n"
        )
        self.producer.send(names.intake(CLIENT), content.encode(), headers=list(headers))
        self.producer.flush()

    def of(self, name: str) -> list[Event]:
        return [
            event
            for event in self.watch.events(frozenset({CLIENT}))
            if event.data.message_id == f"<{name}@{DOMAIN}>"
        ]

    def wait(self, name: str, is_met: Callable[[list[Event]], bool]) -> list[Event]:
        """Return the events of a message once they meet the condition."""
        wait_until(lambda: is_met(self.of(name)), f"{name}: {self.of(name)}")
        return self.of(name)

    def final(self, name: str) -> Event:
        found = self.wait(name, lambda events: any(event.type in FINAL for event in events))
        (event,) = [event for event in found if event.type in FINAL]
        return event


@pytest.fixture(scope="module")
def place(shared_line: Stack) -> Iterator[Place]:
    kafka = shared_line.endpoints.kafka
    client = Client(CLIENT, DOMAIN, "back@ordered.example.org", "standard")
    publish.apply(KafkaSettings(bootstrap=kafka), Changes(added=(client,)))
    producer = KafkaProducer(bootstrap_servers=kafka, metrics_enabled=False)
    watch = EventWatch(kafka)
    yield Place(shared_line, watch, producer)
    producer.close(timeout=10)
    watch.close()


def test_suspended_mail_waits_without_an_attempt_until_it_is_resumed(place: Place) -> None:
    place.order("suspend", "--client", CLIENT, "--domain", "Held.Example", "--reason", "asked")
    (listed,) = place.run("orders")
    assert listed["scope"] == {"client": CLIENT, "domain": "held.example"}
    place.submit("held", "held.example")
    place.submit("other", "free.example")
    first, again = place.wait("held", lambda events: len(events) >= 2)[:2]
    assert place.final("other").type is EventType.DELIVERED
    assert (first.type, first.data.attempt, again.type) == (
        EventType.DEFERRED,
        0,
        EventType.DEFERRED,
    )
    assert first.data.author
    assert first.data.reason.endswith("(client ordered domain held.example): asked")
    place.run("resume", "--client", CLIENT, "--domain", "held.example")
    final = place.final("held")
    assert (final.type, final.data.attempt) == (EventType.DELIVERED, 1)
    assert place.run("orders") == []
    assert len(place.run("orders", "--all")) == 1


@pytest.mark.parametrize(
    ("verb", "kind"), [("bounce", EventType.BOUNCED), ("expire", EventType.EXPIRED)]
)
def test_mail_that_arrives_later_ends_with_one_event_that_names_the_author(
    place: Place, verb: str, kind: EventType
) -> None:
    domain = f"{verb}.example"
    place.order(verb, "--domain", domain, "--author", "ann", "--reason", "gone", "--for", "1h")
    place.submit(verb, domain)
    event = place.final(verb)
    assert (event.type, event.data.author, event.data.attempt) == (kind, "ann", 0)
    assert not event.data.first_dispatch
    place.order("resume", "--domain", domain)
    place.submit(f"{verb}-after", domain)
    assert place.final(f"{verb}-after").type is EventType.DELIVERED


def test_a_suspension_ends_by_itself(place: Place) -> None:
    place.run("suspend", "--domain", "brief.example", "--for", "3s")
    place.submit("brief", "brief.example")
    assert place.final("brief").type is EventType.DELIVERED
    assert {"domain": "brief.example"} not in [each["scope"] for each in place.run("orders")]


def test_a_suspended_lane_is_not_read_until_it_is_resumed(place: Place) -> None:
    place.order("suspend", "--lane", "default")
    place.submit("lane", "lane.example")
    place.submit("refused", "lane.example", [("sluice-sender", b"x@elsewhere.example")])
    assert place.final("refused").type is EventType.REFUSED  # validate goes on
    # What is read before the order is known is deferred.
    assert all(event.data.attempt == 0 for event in place.of("lane"))
    place.run("resume", "--lane", "default")
    assert place.final("lane").type is EventType.DELIVERED


def test_what_became_of_a_message_is_found_by_each_of_its_names(place: Place) -> None:
    given = [
        ("ce_specversion", b"1.0"),
        ("ce_id", b"order-7"),
        ("ce_type", b"com.example.send"),
        ("ce_source", b"/shop"),
        ("ce_metadata", b'{"order":"7"}'),
    ]
    place.submit("named", "named.example", given)
    mail_id = place.final("named").subject
    names_of = ("order-7", f"<named@{DOMAIN}>", "OK-named@NAMED.example", mail_id)
    for name in names_of:
        (story,) = place.run("message", name, module="events")["messages"]
        assert (story["mail_id"], story["state"]) == (mail_id, "delivered")
        assert (story["submission_id"], story["metadata"]) == ("order-7", {"order": "7"})
    place.run("message", "order-8", code=1, module="events")
    found = place.run("command", "--client", CLIENT, "--type", "delivered", module="events")
    assert mail_id in {event["subject"] for event in found}
    assert {event["type"] for event in found} == {"delivered"}


def test_mail_that_waits_is_found_in_its_queue(place: Place) -> None:
    later = b"%d" % (time.time_ns() // 1_000_000 + 3_600_000)
    for name in ("q1", "q2", "q3"):
        place.submit(name, "queued.example", [("sluice-not-before", later)])
    place.submit("behind", "behind.example")
    place.final("behind")
    wanted = {"domain": "queued.example", "messages": 3}

    def waits() -> bool:
        return wanted in place.run("command", "top", "--by", "domain", module="queue")["top"]

    wait_until(waits, "all three wait")
    shown = place.run("command", "summary", module="queue")
    assert shown["is_complete"]
    assert shown["clients"][CLIENT] >= 3
    (row,) = [each for each in shown["topics"] if each["topic"] == "mail.deferred.15m"]
    assert (row["messages"], row["attempted"]) == (3, 0)
    place.run("command", "show", "01HZZZZZZZ0000000000000000", code=1, module="queue")


def test_a_message_with_an_earliest_time_is_scheduled_and_can_be_cancelled(place: Place) -> None:
    reason = ("--author", "ann", "--reason", "sold out")
    for ahead_s in (12, 60):  # a busy machine may be too late for the first one
        name, soon = f"called-off-{ahead_s}", time.time_ns() // 1_000_000 + ahead_s * 1_000
        place.submit(name, "called-off.example", [("sluice-not-before", b"%d" % soon)])
        scheduled = place.wait(name, bool)[0]
        mail_id = scheduled.subject
        said = place.shell("cli.control.cancel", mail_id, *reason, "--wait", "0", "--json").stdout
        if time.time_ns() // 1_000_000 < soon - FRESH_S * 1_000:
            break
    assert (scheduled.type, scheduled.data.next_attempt_at_ms) == (EventType.SCHEDULED, soon)
    assert json.loads(said)["answer"] == "recorded"
    # Another one changes neither its author nor its reason.
    found = place.run("cancel", mail_id, "--author", "bob", "--wait", "90")
    assert found["answer"] == "cancelled"
    final = place.final(name)
    assert (final.type, final.data.author, final.data.attempt) == (EventType.CANCELLED, "ann", 0)
    assert final.data.reason.endswith("sold out")
    # The order is not needed any more, and a second one finds the message ended.
    assert {"mail_id": mail_id} not in [each["scope"] for each in place.run("orders")]
    assert place.run("cancel", mail_id)["answer"] == "cancelled"


def test_a_release_in_the_same_moment_does_not_undo_a_cancellation(place: Place) -> None:
    soon = time.time_ns() // 1_000_000 + 60_000
    place.submit("raced", "raced.example", [("sluice-not-before", b"%d" % soon)])
    mail_id = place.wait("raced", bool)[0].subject
    scope = Scope(mail_id=mail_id)
    for order in (Order(Verb.CANCEL, scope, "ann"), Order(Verb.RELEASE, scope, "bob")):
        key, value = encode_order(order)
        place.producer.send(names.CONTROL, value, key, [], PARTITION)
    place.producer.flush()
    (shown,) = [each for each in place.run("orders") if each["scope"] == {"mail_id": mail_id}]
    assert (shown["verb"], shown["author"]) == ("cancel", "ann")
    final = place.final("raced")
    assert (final.type, final.data.author) == (EventType.CANCELLED, "ann")


def test_a_message_that_has_ended_cannot_be_cancelled(place: Place) -> None:
    place.submit("gone", "gone.example")
    mail_id = place.final("gone").subject
    found = place.run("cancel", mail_id, code=1)
    assert (found["answer"], found["state"]) == ("ended", "delivered")
    assert place.shell("cli.control.cancel", "no-mail-id").returncode == 2


def test_events_are_followed_until_the_command_is_interrupted(place: Place) -> None:
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "cli.events.command", "--follow", "--json"),
            *("--client", CLIENT, "--since", "10m"),
        ],
        stdout=subprocess.PIPE,
        text=True,
        env={
            **os.environ,
            **base_environment(),
            "SLUICE_KAFKA__BOOTSTRAP": place.stack.endpoints.kafka,
        },
    )
    assert process.stdout is not None
    place.submit("followed", "followed.example")
    wanted = f"<followed@{DOMAIN}>"
    while json.loads(process.stdout.readline())["data"].get("message_id") != wanted:
        pass
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) == 0


def test_mail_is_sent_to_another_server(place: Place) -> None:
    nowhere = "127.0.0.1:1"
    place.order("reroute", "--domain", "moved.example", "--to", nowhere)
    place.submit("moved", "moved.example")
    first = place.wait("moved", bool)[0]
    assert (first.type, first.data.site) == (EventType.DEFERRED, nowhere)
    place.run("reroute", "--domain", "moved.example", "--to", str(place.stack.endpoints.sink))
    final = place.final("moved")
    assert (final.type, final.data.site) == (EventType.DELIVERED, place.stack.endpoints.sink)


def test_a_record_that_is_no_order_is_skipped(place: Place) -> None:
    for key, value in ((b"x", b"\xff{"), (b"client=ordered", b'{"verb":"bounce","scope":{}}')):
        place.producer.send(names.CONTROL, value, key, [], PARTITION)
    place.producer.flush()
    place.order("bounce", "--domain", "torn.example")
    place.submit("torn", "torn.example")
    place.submit("whole", "whole.example")
    assert place.final("torn").type is EventType.BOUNCED
    assert place.final("whole").type is EventType.DELIVERED


@pytest.mark.parametrize(
    "arguments",
    [
        ("suspend",),
        ("suspend", "--client", "nobody"),
        ("bounce", "--mailing", "standard"),
        ("bounce", "--client", CLIENT, "--mailing", "unknown"),
        ("expire", "--domain", "not a domain"),
        ("suspend", "--domain", "a.example", "--for", "soon"),
        ("suspend", "--domain", "a.example", "--for", "1h", "--until-resumed"),
        ("reroute", "--domain", "a.example"),
        ("reroute", "--domain", "a.example", "--to", "nowhere"),
    ],
)
def test_an_order_that_cannot_be_meant_is_refused(place: Place, arguments: tuple[str, ...]) -> None:
    command, *rest = arguments
    found = place.shell(f"cli.control.{command}", *rest)
    assert (found.returncode, found.stdout) == (2, "")
    assert "Traceback" not in found.stderr


def test_there_is_nothing_to_resume_on_a_scope_without_an_order(place: Place) -> None:
    answer = place.run("resume", "--domain", "never.example", code=1)
    place.run("resume", "--client", CLIENT, "--provider", "google", code=1)
    assert "domain never.example" in answer["error"]
