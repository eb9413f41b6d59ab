"""Replication of topics on a broker: what differs is shown, and what cannot be added is said."""

from __future__ import annotations

import json
import time
import zlib

import pytest
from click.testing import CliRunner
from kafka.errors import KafkaError
from msgspec import structs

from cli.topics.command import main
from shared.settings.sections import KafkaSettings
from shared.stream.admin import ensure_topics
from shared.stream.client import client_options, make_admin, make_producer
from shared.stream.topic_configs import Wanted, compare, grow, plan_growth
from shared.topics.names import TopicPlan, configs_of, intake

# The broker has one lane; with three copies, it could not create the topics of others.
WANTED = {"SLUICE_KAFKA__REPLICATION": "3", "SLUICE_VALIDATE__LANES": "{}"}


@pytest.fixture
def topic(kafka_bootstrap: str, request: pytest.FixtureRequest) -> str:
    name = intake(f"r{zlib.crc32(request.node.nodeid.encode())}-{time.time_ns()}")
    kafka = KafkaSettings(bootstrap=kafka_bootstrap)
    ensure_topics(kafka, [TopicPlan(name, 1, configs_of(name) or {})])
    return name


def test_a_topic_with_too_few_copies_differs(kafka_bootstrap: str, topic: str) -> None:
    kafka = KafkaSettings(bootstrap=kafka_bootstrap, replication=3)
    admin = make_admin(client_options(kafka, "test"), 10_000)
    planned = {topic: configs_of(topic) or {}}
    try:
        (report,) = compare(admin, planned, Wanted.of(kafka))
        assert (report.status, report.replication, report.differences) == ("differs", 1, [])
        (report,) = compare(admin, planned, Wanted.of(structs.replace(kafka, replication=1)))
        assert report.status == "ok"
        growth = plan_growth(admin, [topic], 3)
        assert (growth.assignments, growth.lacking) == ({}, 2)
        grow(admin, {(topic, 0): [1]})  # what it has: accepted, and nothing changes
        with pytest.raises(KafkaError, match=f"{topic}/0: InvalidReplic"):
            grow(admin, {(topic, 0): [1, 99]})
    finally:
        admin.close()


@pytest.mark.parametrize("verb", ["plan", "apply"])
def test_the_commands_show_the_copies_that_lack(
    kafka_bootstrap: str, topic: str, verb: str
) -> None:
    done = CliRunner().invoke(main, [verb, "--kafka", kafka_bootstrap, "--json"], env=WANTED)
    assert done.exit_code == 1, done.output
    found = {row["topic"]: row for row in json.loads(done.stdout)["topics"]}[topic]
    row = {"config": "replication", "found": "1", "wanted": "3", "deletes": False}
    assert row in found["differences"]
    if verb == "apply":
        assert found["status"] == "refused"
        assert found["reason"] == "3 copies need 2 more brokers"


def test_the_plan_shows_that_kafkas_own_topics_have_too_few_copies(kafka_bootstrap: str) -> None:
    line = ["plan", "--kafka", kafka_bootstrap, "--json"]
    # Any transaction makes Kafka create the topic of their states.
    admin = make_admin(client_options(KafkaSettings(bootstrap=kafka_bootstrap), "test"), 10_000)
    producer = make_producer(
        client_options(KafkaSettings(bootstrap=kafka_bootstrap), "test"),
        transactional_id=f"test.{time.time_ns()}",
    )
    try:
        producer.init_transactions()
        assert "__transaction_state" in admin.list_topics()
    finally:
        producer.close()
        admin.close()
    short = {
        row["topic"]: (row["status"], row["differences"])
        for row in json.loads(CliRunner().invoke(main, line, env=WANTED).stdout)["topics"]
    }
    row = {"config": "replication", "found": "1", "wanted": "3", "deletes": False}
    assert short["__transaction_state"] == ("brokers", [row])
    enough = json.loads(CliRunner().invoke(main, line).stdout)["topics"]
    assert not [each for each in enough if each["topic"].startswith("__")]


def test_low_replication_ends_a_command_with_one_line(kafka_bootstrap: str) -> None:
    env = {"SLUICE_KAFKA__ALLOW_LOW_REPLICATION": "false"}
    done = CliRunner().invoke(main, ["plan", "--kafka", kafka_bootstrap], env=env)
    assert done.exit_code == 2
    assert "kafka.replication is 1, expected 3 or more" in done.output
