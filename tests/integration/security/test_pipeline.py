"""The pipeline over SASL_SSL and Redis with TLS, with exactly the ACLs of `sluice acls`."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
from click.testing import CliRunner, Result
from kafka.errors import (
    GroupAuthorizationFailedError,
    TopicAuthorizationFailedError,
    TransactionalIdAuthorizationFailedError,
)
from kafka.structs import TopicPartition
from msgspec import Struct, structs

from cli.acls import broker
from cli.acls.command import main as acls
from cli.acls.plan import READ, Rule
from cli.stack.paths import SERVICES
from cli.topics.command import main as topics
from local.stack import Stack, StackOptions
from shared.registry.client import Client
from shared.registry.store import publish
from shared.registry.store.changes import Changes
from shared.settings.sections import KafkaSettings
from shared.stream.client import client_options, make_admin, make_consumer, make_producer
from shared.topics import names
from shared.topics.codec import decode_event
from shared.topics.records import FINAL, Event, EventType
from tests.support import secured_redis
from tests.support.fork_server import fork
from tests.support.patience import PATIENCE_S
from tests.support.secured_place import Place, add_users, ways
from tests.support.smtp_peers import wait_until

SHOP, OTHER = "shop", "shop-2"
MESSAGES = 5
OPERATOR = "operator"


class Stage(Struct, frozen=True):
    stack: Stack
    place: Place

    def settings(self, user: str) -> KafkaSettings:
        return structs.replace(ways(self.place)["SCRAM-SHA-512"], sasl_username=user)


def variables(section: str, settings: Any, *keys: str) -> dict[str, str]:
    return {f"SLUICE_{section}__{key.upper()}": str(getattr(settings, key)) for key in keys}


def run(command: Any, *arguments: str, env: dict[str, str] | None = None) -> str:
    done = CliRunner().invoke(command, arguments, env=env)
    assert done.exit_code == 0, done.output
    return done.output


def stack_options(
    place: Place, base: KafkaSettings, redis: str, env: dict[str, str]
) -> StackOptions:
    """Each service as its own user; the stack itself asks the broker as an operator does."""
    return StackOptions(
        name="secured",
        start=fork,
        folder=place.folder / "stack",
        kafka=base.bootstrap,
        redis=redis,
        restart=False,
        is_lasting=False,
        env={**env, "SLUICE_KAFKA__SASL_USERNAME": f"sluice-{OPERATOR}"},
        part_env={name: {"SLUICE_KAFKA__SASL_USERNAME": f"sluice-{name}"} for name in SERVICES},
    )


@pytest.fixture(scope="module")
def stage(place: Place) -> Iterator[Stage]:
    clients = [
        Client(name, f"news.{name}.example", "back@r.example.org", "standard", own_events=True)
        for name in (SHOP, OTHER)
    ]
    users = [f"sluice-{name}" for name in (*SERVICES, OPERATOR)]
    users += [f"client-{one.name}" for one in clients]
    add_users(place.secured, dict.fromkeys(users, "SCRAM-SHA-512"))
    base = ways(place)["SCRAM-SHA-512"]
    env = variables(
        "KAFKA",
        base,
        *("security_protocol", "tls_ca_file", "sasl_mechanism", "sasl_password_file"),
    )
    # Before anything is there: the services' ACLs, then the topics and clients, by the operator.
    run(acls, "--kafka", place.secured.admin, "--services-only", "--apply")
    operator = structs.replace(base, sasl_username=f"sluice-{OPERATOR}")
    as_operator = {**env, "SLUICE_KAFKA__SASL_USERNAME": operator.sasl_username}
    run(topics, "apply", "--kafka", base.bootstrap, env=as_operator)
    publish.apply(operator, Changes(added=tuple(clients)))
    run(acls, "--kafka", place.secured.admin, "--apply")
    authority = place.secured.authority
    secret = place.folder / "valkey-password"
    secret.write_text(secured_redis.PASSWORD)
    with secured_redis.running(place.folder / "valkey", authority) as url:
        env |= {
            "SLUICE_REDIS__TLS_CA_FILE": str(authority.ca),
            "SLUICE_REDIS__USERNAME": secured_redis.USER,
            "SLUICE_REDIS__PASSWORD_FILE": str(secret),
            "SLUICE_RUNTIME__LOG_LEVEL": "warning",
        }
        with Stack(stack_options(place, base, url, env)) as stack:
            yield Stage(stack, place)


def message(client: str, number: int, local: str = "reader") -> bytes:
    domain = f"news.{client}.example"
    return (
        f"From: News <news@{domain}>\r\nTo: {local}{number}@r.example.net\r\nSubject: Hello\r\n"
        f"Message-ID: <{local}{number}@{domain}>\r\nDate: Thu, 26 Nov 2026 10:00:00 +0000\r\n\r\n"
        "Hi\r\n"
    ).encode()


def publish_as_client(stage: Stage, name: str, contents: list[bytes]) -> None:
    """Publish in one transaction, as the client may."""
    options = client_options(stage.settings(f"client-{SHOP}"), "shop")
    producer = make_producer(options, f"client.{SHOP}.{name}")
    producer.init_transactions()
    producer.begin_transaction()
    for content in contents:
        producer.send(names.intake(SHOP), content)
    producer.commit_transaction()
    producer.close()


@contextmanager
def own_events(stage: Stage, group: str) -> Iterator[Callable[[], list[Event]]]:
    """Read what the client's own topic has, a little more at each call."""
    options = client_options(stage.settings(f"client-{SHOP}"), "shop")
    consumer = make_consumer(options, f"client.{SHOP}.{group}", fetch_min_bytes=1)
    consumer.subscribe([names.own_events(SHOP)])

    def more() -> list[Event]:
        polled = consumer.poll(timeout_ms=300).values()
        found = [decode_event(each.headers, each.value) for records in polled for each in records]
        return [event for event in found if isinstance(event, Event)]

    try:
        yield more
    finally:
        consumer.close()


def test_a_client_publishes_and_reads_what_became_of_its_mail(stage: Stage) -> None:
    publish_as_client(stage, "1", [message(SHOP, number) for number in range(MESSAGES)])
    ended: set[str] = set()

    def all_ended() -> bool:
        ended.update(event.subject for event in more() if event.type in FINAL)
        return len(ended) == MESSAGES

    with own_events(stage, "reader") as more:
        wait_until(all_ended, "one final event per message")


def test_a_bounce_and_a_complaint_come_back_by_the_bounce_door_and_are_forwarded(
    stage: Stage,
) -> None:
    # The sink sends these to the return path after it has accepted the message.
    contents = [message(SHOP, 1, "return-"), message(SHOP, 1, "complain-")]
    publish_as_client(stage, "2", contents)
    seen: Counter[EventType] = Counter()
    wanted = Counter({EventType.RETURNED: 1, EventType.COMPLAINED: 1, EventType.FORWARDED: 2})

    def all_forwarded() -> bool:
        seen.update(event.type for event in more() if event.type in wanted)
        return seen == wanted

    with own_events(stage, "returns") as more:
        wait_until(all_forwarded, "two events of what came back, and both forwarded", PATIENCE_S)


@pytest.mark.parametrize(
    ("topic", "may_write"),
    [
        (names.intake(SHOP), True),
        (names.intake(OTHER), False),
        (names.RECEIVED, False),
        (names.EVENTS, False),
        (names.own_events(SHOP), False),
        (names.CLIENTS, False),
        (names.outbound("default"), False),
    ],
)
def test_a_client_may_write_to_its_own_intake_only(
    stage: Stage, topic: str, may_write: bool
) -> None:
    producer = make_producer(
        client_options(stage.settings(f"client-{SHOP}"), "shop"), None, max_block_ms=60_000
    )
    try:
        if may_write:
            producer.send(topic, b"no message").get(timeout=PATIENCE_S)
        else:
            with pytest.raises(TopicAuthorizationFailedError):
                producer.send(topic, b"not mine").get(timeout=PATIENCE_S)
    finally:
        producer.close()


@pytest.mark.parametrize(
    ("topic", "may_read"),
    [
        (names.own_events(SHOP), True),
        (names.intake(SHOP), False),
        (names.EVENTS, False),
        (names.own_events(OTHER), False),
        (names.CLIENTS, False),
    ],
)
def test_a_client_may_read_its_own_events_only(stage: Stage, topic: str, may_read: bool) -> None:
    """All these topics but that of the other client have records, since the test above."""
    options = client_options(stage.settings(f"client-{SHOP}"), "shop")
    consumer = make_consumer(options, None, fetch_min_bytes=1)
    consumer.assign([TopicPartition(topic, number) for number in range(2)])
    try:
        if may_read:
            wait_until(lambda: bool(consumer.poll(timeout_ms=500)), "an event")
        else:
            with suppress(TopicAuthorizationFailedError):
                assert not any(consumer.poll(timeout_ms=500) for _ in range(2))
    finally:
        consumer.close()


def test_a_client_sees_its_own_topics_only_and_creates_none(stage: Stage) -> None:
    admin = make_admin(client_options(stage.settings(f"client-{SHOP}"), "shop"), 10_000)
    assert set(admin.list_topics()) == {names.intake(SHOP), names.own_events(SHOP)}
    with pytest.raises(TopicAuthorizationFailedError):
        admin.create_topics({names.intake("new"): {"num_partitions": 1, "replication_factor": 1}})
    admin.close()


def test_a_client_has_no_group_and_no_transaction_of_a_service(stage: Stage) -> None:
    options = client_options(stage.settings(f"client-{SHOP}"), "shop")
    consumer = make_consumer(options, "sluice.deliver")
    consumer.subscribe([names.own_events(SHOP)])
    with pytest.raises(GroupAuthorizationFailedError):
        wait_until(lambda: bool(consumer.poll(timeout_ms=500)), "it is refused")
    consumer.close()
    producer = make_producer(options, "sluice.deliver.deliver")
    with pytest.raises(TransactionalIdAuthorizationFailedError):
        producer.init_transactions()
    producer.close()


def test_no_service_is_refused_anything(stage: Stage) -> None:
    for name in SERVICES:
        text = stage.stack.log(name).read_text()
        assert "uthorization" not in text, f"{name}: {text[-2000:]}"


def test_acls_shows_no_difference_after_apply(stage: Stage) -> None:
    assert "0 ACLs missing, 0 extra" in run(acls, "--kafka", stage.place.secured.admin, "--compare")


def test_acls_beyond_the_plan_are_shown_and_pruned_on_request(stage: Stage) -> None:
    client = ("--kafka", stage.place.secured.admin, "--client", "more")
    added = json.loads(run(acls, *client, "--apply", "--json"))
    assert (len(added["missing"]), added["added"]) == (4, True)
    beyond = Rule("topic", "literal", names.EVENTS, READ)
    options = client_options(KafkaSettings(bootstrap=stage.place.secured.admin), "test")
    admin = make_admin(options, 10_000)
    broker.add(admin, [broker.acl_of("User:client-more", beyond)])
    admin.close()
    beyond_plan = "beyond the plan: User:client-more: read on topic mail.events"

    def compared() -> Result:
        return CliRunner().invoke(acls, [*client, "--compare"])

    # A broker knows an ACL a moment after its controller has acknowledged it.
    wait_until(lambda: beyond_plan in compared().output, "it is shown")
    assert compared().exit_code == 1
    run(acls, *client, "--apply")  # removes nothing
    assert json.loads(run(acls, *client, "--apply", "--prune", "--json"))["extra"]
    wait_until(lambda: "0 ACLs missing, 0 extra" in compared().output, "none is left")
    assert compared().exit_code == 0


def test_a_principal_without_the_right_to_see_acls_gets_one_line(stage: Stage) -> None:
    settings = stage.settings(f"client-{SHOP}")
    keys = ("security_protocol", "tls_ca_file", "sasl_mechanism", "sasl_password_file")
    env = variables("KAFKA", settings, *keys, "sasl_username")
    asked = ["--kafka", settings.bootstrap, "--services-only", "--compare"]
    done = CliRunner().invoke(acls, asked, env=env)
    assert done.exit_code == 3
    assert "ClusterAuthorizationFailed" in done.output
