"""Records with any timestamp on a real pipeline, the configuration of the topics, and readiness."""

from __future__ import annotations

import json
import re
import time
import urllib.request
from pathlib import Path

import pytest
from kafka import KafkaAdminClient
from kafka.admin import ConfigResource, ConfigResourceType, NewTopic
from kafka.structs import TopicPartition

from cli.stack.paths import SERVICES
from local.stack import Stack
from shared.registry.client import Client
from shared.stream.client import ClientOptions, make_consumer
from shared.topics import names
from shared.topics.records import EventType
from tests.support.chaos.witnesses import EventWatch
from tests.support.clock_line import FOREIGN, NOW_MS, ClockLine
from tests.support.door_peers import login, secured
from tests.support.front_door import NAME, connected, door_of, message, register
from tests.support.line_asking import configs, mail, send, the_end_of, topics_command
from tests.support.patience import PATIENCE_S
from tests.support.smtp_peers import wait_until

# The pipeline is started once, even if the tests run in several processes.
pytestmark = pytest.mark.xdist_group("line-state")

DAY_MS = 86_400_000
PAGE = Path(__file__).resolve().parents[2] / "docs" / "metrics.md"
STAMPS = {
    "seconds": NOW_MS // 1000,
    "ten-days-old": NOW_MS - 10 * DAY_MS,
    "none": -1,
    "zero": 0,
    "far-ahead": NOW_MS + 3_650 * DAY_MS,
}


@pytest.fixture
def stack(clock_line: ClockLine) -> Stack:
    return clock_line.stack


@pytest.fixture
def admin(clock_line: ClockLine) -> KafkaAdminClient:
    return clock_line.admin


@pytest.fixture
def watch(clock_line: ClockLine) -> EventWatch:
    return clock_line.watch


@pytest.mark.parametrize("client", ["clock", FOREIGN])
def test_a_message_goes_out_whatever_time_its_producer_says(
    stack: Stack, watch: EventWatch, client: str
) -> None:
    before_ms = int(time.time() * 1000)
    for name, stamp_ms in STAMPS.items():
        send(stack, names.intake(client), mail(client, name), stamp_ms)
    for name in STAMPS:
        told = the_end_of(watch, client, name)
        assert told.type is EventType.DELIVERED, (name, told.data.reason)
        assert before_ms <= told.data.received_at_ms <= told.data.at_ms


def test_an_intake_made_by_hand_is_aligned_with_the_plan(admin: KafkaAdminClient) -> None:
    topic = names.intake("by-hand")
    longer = {"retention.ms": str(70 * DAY_MS), "cleanup.policy": "compact"}
    admin.create_topics([NewTopic(topic, 1, 1, topic_configs=longer)])
    expected = {
        **names.intake_plan("by-hand").configs,
        "min.insync.replicas": "1",
        # A retention longer than planned is kept: only an operator may shorten it.
        "retention.ms": str(70 * DAY_MS),
    }
    wait_until(
        lambda: expected.items() <= configs(admin, topic).items(), "it is aligned", PATIENCE_S
    )


def test_a_topic_whose_configs_are_forbidden_is_logged_once_and_shown(
    stack: Stack, watch: EventWatch
) -> None:
    topic = names.intake(FOREIGN)

    def told() -> list[str]:
        log = stack.log("ingest").read_text()
        return [
            each
            for each in log.splitlines()
            if topic in each and "the configs could not be altered" in each
        ]

    wait_until(lambda: bool(told()), "the log tells it", PATIENCE_S)
    assert len(told()) == 1
    assert "Authorization" in told()[0]
    code, found = topics_command(stack, "plan")
    assert code == 1
    assert found[topic]["status"] == "differs"
    stamp = next(
        each for each in found[topic]["differences"] if each["config"] == "message.timestamp.type"
    )
    assert (stamp["found"], stamp["wanted"]) == ("CreateTime", "LogAppendTime")


def test_topics_apply_alters_what_it_may_and_says_what_it_may_not(
    stack: Stack, admin: KafkaAdminClient, watch: EventWatch
) -> None:
    longer = ConfigResource(
        ConfigResourceType.TOPIC, names.REFUSED, {"retention.ms": str(99 * DAY_MS)}
    )
    admin.alter_configs([longer])
    code, found = topics_command(stack, "plan")
    assert code == 1
    (difference,) = found[names.REFUSED]["differences"]
    assert difference["deletes"]
    code, found = topics_command(stack, "apply")
    assert code == 1
    assert found[names.REFUSED]["status"] == "altered"
    assert found[names.intake(FOREIGN)]["status"] == "refused"
    assert configs(admin, names.REFUSED)["retention.ms"] == str(names.REFUSED_RETENTION_MS)
    _, found = topics_command(stack, "plan")
    wrong = {topic for topic, each in found.items() if each["status"] != "ok"}
    assert wrong == {names.intake(FOREIGN)}


def test_mail_with_an_old_time_stamp_outlasts_retention_while_ingest_is_down(
    stack: Stack, admin: KafkaAdminClient, watch: EventWatch
) -> None:
    stack.stop_part("ingest")
    old_ms = NOW_MS - 10 * DAY_MS
    send(stack, names.intake("clock"), mail("clock", "waits"), old_ms)
    # Kafka deletes these if the producer's clock counts, so this test can fail.
    witness = "test.witness"
    kept = {"retention.ms": str(names.INTAKE_RETENTION_MS)}
    admin.create_topics([NewTopic(witness, 1, 1, topic_configs=kept)])
    send(stack, witness, mail("clock", "witness"), old_ms)
    partition = TopicPartition(witness, 0)
    consumer = make_consumer(ClientOptions(stack.endpoints.kafka, "test"), None)
    wait_until(
        lambda: consumer.beginning_offsets([partition])[partition] == 1,
        "Kafka has deleted the witness",
        PATIENCE_S,
    )
    consumer.close(autocommit=False)
    stack.start_part("ingest")
    assert the_end_of(watch, "clock", "waits").type is EventType.DELIVERED


def test_every_service_says_that_no_broker_answers_and_that_one_does_again_by_itself(
    stack: Stack,
) -> None:
    register(stack.endpoints.kafka, Client(NAME, "news.door.example", "back@door.example.org", "m"))
    stack.wait_ready("ingest")
    door = door_of(stack)
    wait_until(lambda: all(map(stack.is_ready, SERVICES)), "all are ready", PATIENCE_S)
    # Too many failed logins from one address would lock it out.
    sources = (f"127.0.1.{n}" for n in range(1, 255))

    def can_log_in() -> bool:
        with secured(door.port, next(sources)) as trying:
            return login(trying, NAME)[0] == 235

    wait_until(can_log_in, "the client can log in", PATIENCE_S)
    smtp = connected(door)
    stack.stop_part("kafka")
    wait_until(lambda: not any(map(stack.is_ready, SERVICES)), "none is ready", PATIENCE_S)
    # One message that cannot be stored must not keep the front door closed afterwards.
    smtp.mail("news@news.door.example")
    smtp.rcpt("down@r.example.net")
    assert smtp.data(message("down"))[0] == 451
    stack.start_part("kafka")
    stack.wait_ready("kafka")
    wait_until(lambda: all(map(stack.is_ready, SERVICES)), "all are ready again", PATIENCE_S)


def test_the_page_of_metrics_lists_every_metric_of_every_service(stack: Stack) -> None:
    # The API for platforms is no part of this pipeline.
    listed: dict[str, set[str]] = {service: set() for service in (*SERVICES, "validate api")}
    for row in re.findall(r"^\| `(sluice_\w+)` \| ([a-z, ]+) \|", PAGE.read_text(), re.MULTILINE):
        for service in row[1].partition(" with ")[0].split(", "):
            listed[service].add(row[0])
    assert listed.pop("validate api")
    exported = {}
    for service, url in stack.endpoints.metrics.items():
        with urllib.request.urlopen(url, timeout=PATIENCE_S) as answer:
            text = answer.read().decode()
        exported[service] = set(re.findall(r"^# TYPE (sluice_\w+) ", text, re.MULTILINE))
    assert exported == listed


def test_live_names_the_loops_that_make_progress(stack: Stack) -> None:
    doors = {"front_door_loop": "ok", "bounce_door_loop": "ok"}
    loops = {"ingest": doors, "deliver": {"event_loop": "ok"}}
    for service, url in stack.endpoints.metrics.items():
        with urllib.request.urlopen(url.replace("/metrics", "/live"), timeout=PATIENCE_S) as answer:
            checks = json.loads(answer.read())["checks"]
        assert checks == {"kafka_loop": "ok", **loops.get(service, {})}
