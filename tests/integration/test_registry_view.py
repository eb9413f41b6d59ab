"""The live view of mail.clients and the clients command, against a real broker."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from local.stack import Stack, StackOptions
from shared.registry import lookup
from shared.registry.client import Client
from shared.registry.lookup import find_clients
from shared.registry.store.changes import Changes
from shared.registry.store.publish import apply
from shared.registry.store.view import ClientView, load_registry
from shared.settings.sections import KafkaSettings
from shared.stream.client import ClientOptions, make_producer
from shared.stream.relay import NotReady
from shared.topics import names
from tests.support.patience import PATIENCE_S
from tests.support.registry_cli import a_client, clients_yaml, run


def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition."""
    give_up_at = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < give_up_at, "the condition did not come true"
        time.sleep(0.005)


@pytest.fixture(scope="module")
def kafka(kafka_bootstrap: str) -> KafkaSettings:
    return KafkaSettings(bootstrap=kafka_bootstrap)


@pytest.fixture
def view(kafka: KafkaSettings) -> Iterator[ClientView]:
    view = ClientView(kafka)
    view.start()
    assert view.wait_ready(PATIENCE_S)
    yield view
    view.close()


def test_a_view_has_the_clients_registered_before_it_began(kafka: KafkaSettings) -> None:
    client = a_client()
    created = apply(kafka, Changes(added=(client,)))
    assert created == [names.intake(client.name)]
    view = ClientView(kafka)
    assert not view.ready()
    assert view.check() != ""
    view.start()
    assert view.wait_ready(PATIENCE_S)
    assert view.ready()
    assert view.check() == ""
    assert view.get(client.name) == client
    assert client.name in view.names()
    view.close()


def test_a_change_and_a_removal_are_seen_without_asking(
    kafka: KafkaSettings, view: ClientView
) -> None:
    client = a_client()
    apply(kafka, Changes(added=(client,)))
    until(lambda: view.get(client.name) == client)
    changed = msgspec.structs.replace(client, hard_limit=9)
    apply(kafka, Changes(changed=(changed,)))
    until(lambda: view.get(client.name) == changed)
    apply(kafka, Changes(removed=(client.name,)))
    until(lambda: view.get(client.name) is None)
    assert client.name not in load_registry(kafka)


def test_a_look_up_never_misses_a_client_that_was_registered_before_it_asked(
    kafka: KafkaSettings, view: ClientView, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lookup, "FRESH_TIMEOUT_S", PATIENCE_S)
    for _ in range(5):
        client = a_client()
        apply(kafka, Changes(added=(client,)))
        assert find_clients(view, [client.name]) == {client.name: client}
    assert find_clients(view, ["never-registered"]) == {"never-registered": None}


def test_a_record_that_cannot_be_read_changes_nothing(
    kafka: KafkaSettings, view: ClientView, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lookup, "FRESH_TIMEOUT_S", PATIENCE_S)
    client, after = a_client(), a_client()
    apply(kafka, Changes(added=(client,)))
    producer = make_producer(ClientOptions(kafka.bootstrap, "test"), None)
    producer.send(names.CLIENTS, b"\xff not json", client.name.encode()).get(PATIENCE_S)
    producer.close()
    apply(kafka, Changes(added=(after,)))
    assert find_clients(view, [after.name]) == {after.name: after}
    assert view.get(client.name) == client
    assert view.unreadable >= 1


def is_unknown(view: ClientView) -> bool:
    try:
        return find_clients(view, ["unknown"]) == {"unknown": None}
    except NotReady:
        return False


def test_a_view_outlives_its_broker(tmp_path: Path) -> None:
    stack = Stack(
        StackOptions(name="view", folder=tmp_path, services=(), sink=False, is_lasting=False)
    )
    with stack:
        kafka = KafkaSettings(bootstrap=stack.endpoints.kafka)
        first, second = a_client(), a_client()
        apply(kafka, Changes(added=(first,)))
        view = ClientView(kafka)
        view.start()
        assert view.wait_ready(PATIENCE_S)
        stack.hold("kafka")
        stack.kill("kafka", signal.SIGKILL)
        # It keeps its state, and draws no conclusions from it.
        assert view.get(first.name) == first
        assert not view.refresh(0.5)
        with pytest.raises(NotReady):
            find_clients(view, ["unknown"])
        stack.start_part("kafka")
        stack.wait_ready("kafka")
        apply(kafka, Changes(added=(second,)))
        until(lambda: view.get(second.name) == second)
        until(lambda: is_unknown(view))
        assert view.get(first.name) == first
        view.close()


def test_the_clients_command_registers_shows_compares_and_removes(kafka: KafkaSettings) -> None:
    client = a_client()
    where = ("--json", "--kafka", kafka.bootstrap)
    applied = run("apply", "-f", "-", *where, stdin=clients_yaml(client))
    assert applied.returncode == 0, applied.stderr
    document = json.loads(applied.stdout)
    assert document["added"] == [client.name]
    assert document["topics_created"] == [names.intake(client.name)]

    listed = json.loads(run("list", *where).stdout)
    assert client.name in [each["name"] for each in listed]
    shown = json.loads(run("show", client.name, *where).stdout)
    assert msgspec.convert(shown, Client) == client

    changed = msgspec.structs.replace(client, soft_limit=8)
    same = run("diff", "-f", "-", *where, stdin=clients_yaml(client))
    other = run("diff", "-f", "-", *where, stdin=clients_yaml(changed))
    assert (same.returncode, other.returncode) == (0, 1)
    fields = json.loads(other.stdout)["fields"]
    assert fields == {client.name: {"soft_limit": {"from": 5, "to": 8}}}

    removed = run(
        "remove", client.name, "--mail", "hold", *where
    )  # mail.control may not be there yet
    assert json.loads(removed.stdout)["removed"] == [client.name]
    assert run("show", client.name, *where).returncode == 2


def test_an_apply_warns_of_a_lane_that_is_not_configured(kafka: KafkaSettings) -> None:
    client = msgspec.structs.replace(a_client(), lane="no-such-lane")
    where = ("--json", "--kafka", kafka.bootstrap)
    applied = run("apply", "-f", "-", *where, stdin=clients_yaml(client))
    assert applied.returncode == 0, applied.stderr
    (warning,) = json.loads(applied.stdout)["warnings"]
    assert warning.startswith(f"{client.name}: lane no-such-lane is not configured")
    assert warning in applied.stderr
    run("remove", client.name, "--mail", "deliver", *where)


@pytest.mark.parametrize(
    ("arguments", "stdin", "code", "said"),
    [
        (("apply", "-f", "-"), "clients: 5", 2, "clients: found '5', expected a list of clients"),
        (("apply", "-f", "/nonexistent.yaml"), "", 2, "No such file"),
        (("list", "--kafka", "here"), "", 2, "kafka.bootstrap: found 'here', expected host:port"),
        (("list", "--kafka", "127.0.0.1:1"), "", 3, "Kafka at 127.0.0.1:1 is unavailable"),
        (("list", "--state", "no-such-line"), "", 3, "no-such-line"),
    ],
)
def test_wrong_use_of_the_clients_command_is_told_without_a_stack_trace(
    arguments: tuple[str, ...], stdin: str, code: int, said: str
) -> None:
    answer = run(*arguments, stdin=stdin)
    assert (answer.returncode, answer.stdout) == (code, "")
    assert said in answer.stderr
    assert "Traceback" not in answer.stderr


def test_a_client_is_found_by_its_sending_domain_while_domains_change_hands(
    kafka: KafkaSettings, view: ClientView
) -> None:
    one, two = a_client(), a_client()
    apply(kafka, Changes(added=(one, two)))
    until(lambda: view.by_domain(two.sending_domain) == two)
    assert view.by_domain(one.sending_domain) == one
    # They exchange their domains in one change.
    new_one = replace(one, sending_domain=two.sending_domain)
    new_two = replace(two, sending_domain=one.sending_domain)
    apply(kafka, Changes(changed=(new_one, new_two)))
    until(lambda: view.get(two.name) == new_two)
    assert view.by_domain(two.sending_domain) == new_one
    assert view.by_domain(one.sending_domain) == new_two
    apply(kafka, Changes(removed=(one.name,)))
    until(lambda: view.get(one.name) is None)
    assert view.by_domain(two.sending_domain) is None
    assert view.by_domain(one.sending_domain) == new_two
    assert view.by_domain("nobody.example") is None
