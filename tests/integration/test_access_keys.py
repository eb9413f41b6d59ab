"""Access keys on a real Kafka: made, seen by a running process, revoked, and written down."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from typing import Any

import pytest
from click.testing import CliRunner
from kafka import KafkaAdminClient
from kafka.errors import KafkaError

from services.billing.cli.keys import keys
from shared.access.checking import Action, Denial, Grant, Reason
from shared.access.keys import Right, Scope
from shared.access.topic import PARTITION, read_log
from shared.access.view import MAX_STALE_S, KeyView
from shared.runtime.clock import FakeClock, SystemClock, now_ms
from shared.settings.sections import KafkaSettings
from shared.stream.admin import TopicError, ensure_topics
from shared.stream.client import ClientOptions, make_producer
from shared.topics import names
from shared.topics.configs import state
from shared.topics.names import TopicPlan
from tests.support.billing.stage import eventually

Run = Callable[..., tuple[int, Any]]


def run_on(bootstrap: str, *arguments: str) -> tuple[int, Any]:
    found = CliRunner().invoke(keys, [*arguments, "--json", "--kafka", bootstrap])
    return found.exit_code, json.loads(found.stdout)


@pytest.fixture
def run(kafka_bootstrap: str) -> Run:
    return partial(run_on, kafka_bootstrap)


@pytest.fixture
def view(kafka_bootstrap: str) -> Iterator[KeyView]:
    plans = [plan for plan in names.plans(()) if plan.name in (names.ACCESS, names.ACCESS_LOG)]
    ensure_topics(KafkaSettings(bootstrap=kafka_bootstrap), plans)
    found = KeyView(ClientOptions(kafka_bootstrap, "test"), "billing", SystemClock())
    found.start()
    yield found
    found.close()


def test_a_key_is_in_force_and_revoked_while_a_process_runs(
    run: Run, view: KeyView, kafka_bootstrap: str
) -> None:
    code, made = run("create", "--client", "shop", "--unregistered", "--name", "ERP")
    assert (code, made["scope"], made["rights"]) == (0, "shop", ["billing:read"])
    header = f"Bearer {made['key']}"
    expected = Grant(made["id"], Scope("shop"), (Right.BILLING_READ.value,))
    eventually(lambda: view.check(header) == expected, "the key is in force")
    assert run("revoke", made["id"])[1]["state"] == "revoked"
    eventually(
        lambda: view.check(header) == Denial(Reason.REVOKED, made["id"]), "the key is revoked"
    )
    view.deny(Denial(Reason.REVOKED, made["id"]), "10.0.0.1")
    view.close()

    def lines() -> list[tuple[Action, str, str]]:
        log = read_log(KafkaSettings(bootstrap=kafka_bootstrap), 1_000)
        return [(line.action, line.reason, line.peer) for line in log if line.key == made["id"]]

    eventually(lambda: len(lines()) >= 3, "the denial is written down")
    assert lines() == [
        (Action.CREATED, "", ""),
        (Action.REVOKED, "", ""),
        (Action.DENIED, "revoked", "10.0.0.1"),
    ]


def test_the_commands_list_keys_without_their_secrets(run: Run) -> None:
    _, made = run(
        "create",
        *("--right", "suppressions:write", "--right", "messages:read", "--expires", "90d"),
    )
    _, listed = run("list")
    (mine,) = [each for each in listed if each["id"] == made["id"]]
    assert (mine["state"], mine["scope"], mine["key"]) == ("active", "everything", "")
    assert mine["rights"] == ["suppressions:write", "messages:read"]
    assert 0 < mine["expires_at_ms"] - now_ms() <= 90 * 86_400_000
    assert run("revoke", made["key"])[1]["id"] == made["id"]
    assert run("revoke", made["id"])[0] == 0
    assert [each["action"] for each in run("log")[1] if each.get("key") == made["id"]] == [
        "created",
        "revoked",
    ]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("create", "--sub-client", "south"), "needs --client"),
        (("create", "--client", f"no{uuid.uuid4().hex}"), "is registered; known: "),
        (("create", "--expires", "soon"), "write 90d"),
        (("create", "--name", "x" * 101), "101 characters"),
        (("revoke", "nothing"), "there is no access key 'nothing'"),
        (("revoke", "sluice_"), "there is no access key"),
    ],
)
def test_a_wrong_command_is_told_in_one_line(
    run: Run, arguments: tuple[str, ...], words: str
) -> None:
    code, found = run(*arguments)
    assert code == 2
    assert words in found["error"]


def test_without_kafka_the_commands_say_so() -> None:
    code, found = run_on("127.0.0.1:1", "list")
    assert (code, "Kafka" in found["error"]) == (3, True)


class Own:
    """A topic of keys that no other test uses, and a view of it with a clock of its own."""

    def __init__(self, bootstrap: str) -> None:
        self.bootstrap = bootstrap
        self.topic = f"test.access.{uuid.uuid4().hex[:12]}"
        self.clock = FakeClock()
        self.create()
        self.view = KeyView(
            ClientOptions(bootstrap, "test"), "billing", self.clock, topic=self.topic
        )

    def create(self) -> None:
        plan = TopicPlan(self.topic, 1, state(1024 * 1024))
        ensure_topics(KafkaSettings(bootstrap=self.bootstrap), [plan])

    def delete(self) -> None:
        admin = KafkaAdminClient(bootstrap_servers=self.bootstrap)
        admin.delete_topics([self.topic])
        admin.close()

    def publish(self, key: bytes, value: bytes | None) -> None:
        producer = make_producer(ClientOptions(self.bootstrap, f"test-{os.getpid()}"), None)
        producer.send(self.topic, value, key, [], PARTITION).get(timeout=30)
        producer.close()

    def ids(self) -> list[str]:
        return sorted(self.view.keys())


@pytest.fixture
def own(kafka_bootstrap: str) -> Iterator[Own]:
    found = Own(kafka_bootstrap)
    yield found
    found.view.close()


def record(name: str) -> bytes:
    return b'{"id":"%s","secret_hash":"AA==","rights":[]}' % name.encode()


def test_a_record_that_cannot_be_read_removes_its_key(own: Own) -> None:
    for key in ("a", "b", "c"):
        own.publish(key.encode(), record(key))
    own.publish(b"b", b"not json")
    own.publish(b"c", None)
    own.view.start()
    eventually(lambda: own.ids() == ["a"], "the records are applied")
    own.publish(b"a", b'{"id":"z"}')
    eventually(lambda: own.ids() == [], "the last key is removed")


def test_a_view_that_cannot_be_renewed_lets_nobody_in_after_a_while(own: Own) -> None:
    assert "has not been read yet" in own.view.fault()
    own.publish(b"a", record("a"))
    own.view.start()
    eventually(lambda: not own.view.fault(), "the keys are read")
    own.delete()
    own.clock.go_on(MAX_STALE_S + 10)
    # Until the metadata is renewed, the deleted topic may still answer.
    eventually(lambda: _is_stale(own), "the view is too old")


def _is_stale(own: Own) -> bool:
    own.clock.go_on(MAX_STALE_S + 10)
    return "cannot be read" in own.view.fault()


def test_another_topic_of_the_same_name_replaces_the_keys(own: Own) -> None:
    own.publish(b"a", record("a"))
    own.view.start()
    eventually(lambda: own.ids() == ["a"], "the key is there")
    own.delete()
    own.clock.go_on(5)

    def replaced() -> bool:
        # Until the broker has deleted it, the old topic may still be there and take records.
        with suppress(KafkaError, TopicError):
            own.create()
            own.publish(b"b", record("b"))
        own.clock.go_on(5)
        return own.ids() == ["b"]

    eventually(replaced, "the keys are those of the new topic")
