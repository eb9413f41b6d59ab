"""Removing a client on a real pipeline: its waiting mail, its later mail, and its return."""

from __future__ import annotations

import itertools
import json
import subprocess
import uuid
from collections.abc import Iterator
from typing import Any, Final

import pytest
from kafka import KafkaProducer
from msgspec import Struct

from local.stack import Stack
from shared.registry.client import Client, Code
from shared.registry.credentials import make_credential
from shared.registry.store import publish
from shared.registry.store.changes import Changes
from shared.registry.store.view import ClientView, load_all
from shared.settings.sections import KafkaSettings
from shared.topics import names
from shared.topics.records import FINAL, Event, EventType
from tests.support.chaos.witnesses import EventWatch
from tests.support.fork_server import run_module
from tests.support.line_asking import knows_all_orders
from tests.support.smtp_peers import wait_until

# One process runs all modules that use this pipeline.
pytestmark = pytest.mark.xdist_group("shared-line")

CREDENTIAL: Final = make_credential("correct-horse-battery", 1)


class Leaving(Struct, frozen=True):
    """A client that is to be removed, its mail, and an operator."""

    line: Stack
    client: Client
    kafka: KafkaSettings
    watch: EventWatch
    producer: KafkaProducer

    def shell(self, module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        env = {"SLUICE_KAFKA__BOOTSTRAP": self.kafka.bootstrap}
        return run_module(module, *arguments, "--json", env=env)

    def run(self, *arguments: str, module: str = "cli.clients.command") -> Any:
        found = self.shell(module, *arguments)
        assert found.returncode == 0, found.stderr
        return json.loads(found.stdout)

    def apply(self, verb: str) -> subprocess.CompletedProcess[str]:
        """Run apply or diff with a file that has this client."""
        fields = ("name", "sending_domain", "forwarding_address", "mailing_id")
        rows = [{each: getattr(self.client, each) for each in fields}]
        env = {"SLUICE_KAFKA__BOOTSTRAP": self.kafka.bootstrap}
        given = (verb, "-f", "-", "--json")
        return run_module(
            "cli.clients.command", *given, env=env, stdin=json.dumps({"clients": rows})
        )

    def submit(self, name: str) -> None:
        domain = self.client.sending_domain
        content = (
            f"From: News <news@{domain}>\r\nTo: ok-{name}@{self.client.name}.wait.example\r\n"
            f"Subject: {name}\r\nMessage-ID: <{name}@{domain}>\r\n\r\nHello\r\n"
        )
        self.producer.send(names.intake(self.client.name), content.encode())
        self.producer.flush()

    def of(self, name: str) -> list[Event]:
        wanted = f"<{name}@{self.client.sending_domain}>"
        told = self.watch.events(frozenset({self.client.name}))
        return [event for event in told if event.data.message_id == wanted]

    def all(self) -> list[Event]:
        return [*self.watch.events(frozenset({self.client.name}))]

    def final(self, name: str) -> Event:
        wait_until(lambda: any(each.type in FINAL for each in self.of(name)), f"{name} has ended")
        (event,) = [each for each in self.of(name) if each.type in FINAL]
        return event

    def submit_waiting(self, name: str) -> None:
        """Submit a message that waits in deliver for another reason."""
        place = ("--domain", f"{self.client.name}.wait.example")
        self.run(*place, module="cli.control.suspend")
        wait_until(lambda: knows_all_orders(self.line), "deliver knows the order")
        self.submit(name)
        wait_until(lambda: bool(self.of(name)), f"{name} waits")

    def let_go(self) -> None:
        """End the other reason."""
        self.run("--domain", f"{self.client.name}.wait.example", module="cli.control.resume")


@pytest.fixture
def leaving(shared_line: Stack) -> Iterator[Leaving]:
    name = f"c-{uuid.uuid4().hex[:8]}"
    kafka = KafkaSettings(bootstrap=shared_line.endpoints.kafka)
    client = Client(
        name,
        f"news.{name}.example",
        f"back@{name}.example.org",
        "M-1",
        {"spring": Code("M-2", "shop-a")},
        credentials=(CREDENTIAL,),
    )
    publish.apply(kafka, Changes(added=(client,)))
    producer = KafkaProducer(bootstrap_servers=kafka.bootstrap, metrics_enabled=False)
    watch = EventWatch(kafka.bootstrap)
    yield Leaving(shared_line, client, kafka, watch, producer)
    producer.close(timeout=10)
    watch.close()


def test_held_mail_waits_until_the_client_is_restored_as_it_was(leaving: Leaving) -> None:
    name = leaving.client.name
    leaving.submit_waiting("early")
    told = leaving.run("remove", name, "--mail", "hold", "--reason", "unpaid", "--author", "ann")
    assert (told["removed"], told["mail"]) == ([name], "hold")
    leaving.let_go()
    wait_until(
        lambda: any(
            "the client was removed: unpaid" in each.data.reason for each in leaving.of("early")
        ),
        "the message is held",
    )
    leaving.submit("late")
    wait_until(
        lambda: any(each.type is EventType.REFUSED for each in leaving.all()), "it is refused"
    )
    (refused,) = [each for each in leaving.all() if each.type is EventType.REFUSED]
    assert [each.rule for each in refused.data.rules] == ["removed"]
    (listed,) = [each for each in leaving.run("list", "--removed") if each["name"] == name]
    assert (listed["mail"], listed["author"], listed["reason"]) == ("hold", "ann", "unpaid")
    assert leaving.shell("cli.clients.command", "show", name).returncode == 2
    found = leaving.apply("diff")
    assert (found.returncode, f"{name} was removed" in found.stderr) == (2, True)
    assert leaving.run("restore", name) == {"restored": [name]}
    assert load_all(leaving.kafka).clients[name] == leaving.client
    assert name not in load_all(leaving.kafka).removed
    assert leaving.final("early").type is EventType.DELIVERED
    leaving.submit("again")
    assert leaving.final("again").type is EventType.DELIVERED


def test_refused_mail_ends_as_cancelled_with_the_author_and_the_reason(leaving: Leaving) -> None:
    name = leaving.client.name
    leaving.submit_waiting("early")
    leaving.run("remove", name, "--mail", "refuse", "--author", "ann", "--keep", "2d")
    final = leaving.final("early")
    assert (final.type, final.data.author) == (EventType.CANCELLED, "ann")
    assert final.data.reason == f"Cancelled by ann (client {name}): the client was removed"
    assert not final.data.first_dispatch
    leaving.let_go()
    assert leaving.run("forget", name) == {"forgotten": [name]}
    assert name not in load_all(leaving.kafka).removed
    # The order of the removal does not concern the next client of this name, once it has ended in
    # every worker too.
    applied = leaving.apply("apply")
    assert json.loads(applied.stdout)["added"] == [name], applied.stderr
    numbers = itertools.count()

    def is_next_sent() -> bool:
        leaving.submit(new := f"new-{next(numbers)}")
        return leaving.final(new).type is EventType.DELIVERED

    wait_until(is_next_sent, "mail of the next client is sent")


@pytest.mark.long
def test_accepted_mail_is_sent_after_the_choice_is_changed(leaving: Leaving) -> None:
    name = leaving.client.name
    leaving.submit_waiting("early")
    leaving.run("remove", name, "--mail", "hold")
    leaving.let_go()
    leaving.run("remove", name, "--mail", "deliver")
    assert leaving.final("early").type is EventType.DELIVERED
    assert load_all(leaving.kafka).removed[name].credentials == (CREDENTIAL,)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("remove", "NAME"), 2, "--mail is missing; choose what happens to mail of NAME"),
        (("remove", "NAME", "--mail", "burn"), 2, "'burn' is not one of"),
        (("remove", "NAME", "--mail", "hold", "--keep", "1h"), 2, "--keep '1h': give a time"),
        (("remove", "nobody", "--mail", "hold"), 2, "no client 'nobody' is registered"),
        (("restore", "NAME"), 1, "no removed client 'NAME' can be restored"),
        (("forget", "NAME"), 1, "no removed client 'NAME' can be restored"),
    ],
)
def test_a_fault_is_told_and_changes_nothing(
    leaving: Leaving, arguments: tuple[str, ...], code: int, said: str
) -> None:
    name = leaving.client.name
    found = leaving.shell(
        "cli.clients.command", *(each.replace("NAME", name) for each in arguments)
    )
    assert found.returncode == code
    assert said.replace("NAME", name) in found.stderr
    assert load_all(leaving.kafka).clients[name] == leaving.client


def test_a_running_service_sees_a_removed_client_apart_from_the_others(leaving: Leaving) -> None:
    name, domain = leaving.client.name, leaving.client.sending_domain
    view = ClientView(leaving.kafka)
    view.start()
    try:
        wait_until(lambda: view.get(name) is not None, "the client is seen")
        leaving.run("remove", name, "--mail", "deliver")
        wait_until(lambda: view.removed(name) is not None, "it is seen as removed")
        assert (view.get(name), view.by_domain(domain)) == (None, None)
        assert view.removed_by_domain(domain) == view.removed(name)
        assert name not in view.names()
        leaving.run("forget", name)
        wait_until(lambda: view.removed(name) is None, "it is forgotten")
        assert view.removed_by_domain(domain) is None
    finally:
        view.close()
