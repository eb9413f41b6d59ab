"""The credentials of a client, set and rotated by commands on a real broker."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from shared.registry.client import Client
from shared.registry.credentials import verify
from shared.registry.store.changes import Changes
from shared.registry.store.publish import apply
from shared.registry.store.view import load_registry
from shared.settings.sections import KafkaSettings
from tests.support.registry_cli import a_client, clients_yaml, run

CHOSEN = "a password of mine"


@pytest.fixture(scope="module")
def kafka(kafka_bootstrap: str) -> KafkaSettings:
    return KafkaSettings(bootstrap=kafka_bootstrap)


@pytest.fixture
def client(kafka: KafkaSettings) -> Client:
    client = a_client()
    apply(kafka, Changes(added=(client,)))
    return client


def command(kafka: KafkaSettings, *arguments: str, stdin: str = "") -> Any:
    answer = run(*arguments, "--json", "--kafka", kafka.bootstrap, stdin=stdin)
    assert answer.returncode == 0, answer.stderr
    return json.loads(answer.stdout)


def right(kafka: KafkaSettings, client: Client, *passwords: str) -> list[int | None]:
    credentials = load_registry(kafka)[client.name].credentials
    return [verify(password, credentials) for password in passwords]


def test_passwords_are_set_rotated_kept_by_an_apply_and_dropped(
    kafka: KafkaSettings, client: Client
) -> None:
    name = client.name
    first = command(kafka, "credentials", "set", name)
    assert {**first, "password": ""} == {
        "client": name,
        "username": name,
        "password": "",
        "valid": 1,
    }
    second = command(kafka, "credentials", "rotate", name)
    words = (second["password"], first["password"])
    assert second["valid"] == 2
    assert right(kafka, client, *words, "wrong") == [0, 1, None]

    changed = msgspec.structs.replace(client, hard_limit=7)
    applied = command(kafka, "apply", "-f", "-", stdin=clients_yaml(changed))
    assert applied["changed"] == [name]
    assert load_registry(kafka)[name].hard_limit == 7
    assert right(kafka, client, *words) == [0, 1]

    dropped = command(kafka, "credentials", "drop-old", name)
    assert dropped == {"client": name, "username": name, "valid": 1}
    assert right(kafka, client, *words) == [0, None]
    assert run("credentials", "drop-old", name, "--kafka", kafka.bootstrap).returncode == 1


def test_a_password_from_standard_input_takes_the_place_of_all_and_is_not_printed(
    kafka: KafkaSettings, client: Client
) -> None:
    before = command(kafka, "credentials", "set", client.name)["password"]
    arguments = ("credentials", "set", client.name, "--password-stdin")
    answer = run(*arguments, "--kafka", kafka.bootstrap, stdin=f"{CHOSEN}\n")
    assert answer.returncode == 0
    assert CHOSEN not in answer.stdout + answer.stderr
    assert right(kafka, client, CHOSEN, before) == [0, None]


def test_no_command_shows_a_key(kafka: KafkaSettings, client: Client) -> None:
    where = ("--kafka", kafka.bootstrap)
    command(kafka, "credentials", "set", client.name)
    record = msgspec.to_builtins(load_registry(kafka)[client.name].credentials[0])
    changed = clients_yaml(msgspec.structs.replace(client, hard_limit=7))
    answers = [
        run(*arguments, *where, *flags, stdin=changed)
        for flags in ((), ("--json",))
        for arguments in (
            ("show", client.name),
            ("list",),
            ("credentials", "list", client.name),
            ("diff", "-f", "-"),
        )
    ]
    for answer in answers:
        assert client.name in answer.stdout
        for key in ("stored_key", "server_key", "salt"):
            assert record[key] not in answer.stdout
    assert "credentials: 1, set 20" in answers[0].stdout
    # The output can be applied.
    shown = run("diff", "-f", "-", *where, stdin=answers[0].stdout)
    assert shown.returncode == 0, shown.stderr


def test_a_client_that_is_not_registered_gets_no_password(kafka: KafkaSettings) -> None:
    for verb in ("set", "rotate", "drop-old", "list"):
        answer = run("credentials", verb, "never-registered", "--kafka", kafka.bootstrap)
        assert (answer.returncode, answer.stdout) == (2, "")
        assert "no client 'never-registered' is registered" in answer.stderr
