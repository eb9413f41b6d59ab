"""Helpers for tests with their own pipeline: publishing, outcomes, and queries to its parts."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import urllib.error
import urllib.request
from typing import Any

import redis
from kafka import KafkaAdminClient, KafkaProducer
from kafka.admin import ConfigResource, ConfigResourceType

from cli.control.topic import read_orders
from cli.stack.paths import base_environment
from local.stack import Stack
from shared.runtime.clock import now_ms
from shared.settings.sections import KafkaSettings
from shared.topics.records import Event
from tests.support.chaos.witnesses import EventWatch
from tests.support.metrics import values_of
from tests.support.patience import PATIENCE_S
from tests.support.smtp_peers import wait_until


def mail(client: str, name: str) -> bytes:
    domain = f"news.{client}.example"
    return (
        f"From: News <news@{domain}>\r\nTo: ok-{name}@r.example.net\r\n"
        f"Subject: {name}\r\nMessage-ID: <{name}@{domain}>\r\n\r\nHello\r\n"
    ).encode()


def send(stack: Stack, topic: str, content: bytes, stamp_ms: int) -> None:
    """Publish the record as a separate batch."""
    producer = KafkaProducer(bootstrap_servers=stack.endpoints.kafka, metrics_enabled=False)
    producer.send(topic, content, partition=0, timestamp_ms=stamp_ms).get(timeout=PATIENCE_S)
    producer.close()


def not_ok(stack: Stack, service: str) -> set[str]:
    """Return the checks of a service that are not ok."""
    url = stack.endpoints.metrics[service].replace("/metrics", "/ready")
    try:
        with urllib.request.urlopen(url, timeout=PATIENCE_S) as answer:
            found = json.load(answer)
    except urllib.error.HTTPError as error:
        found = json.load(error)
    return {name for name, answer in found["checks"].items() if answer != "ok"}


def events(watch: EventWatch, client: str, name: str) -> list[Event]:
    wanted = f"<{name}@news.{client}.example>"
    told = watch.events(frozenset({client}))
    return [event for event in told if event.data.message_id == wanted]


def the_end_of(watch: EventWatch, client: str, name: str) -> Event:
    wait_until(lambda: bool(events(watch, client, name)), f"{name} has ended", PATIENCE_S)
    (told,) = events(watch, client, name)
    return told


def knows_all_orders(stack: Stack) -> bool:
    """Return True if deliver knows every order in force; its orders may be 5 s old."""
    orders = read_orders(KafkaSettings(bootstrap=stack.endpoints.kafka))
    known = sum(values_of(stack.endpoints.metrics["deliver"], "sluice_deliver_orders"))
    return known == sum(not each.is_over(now_ms()) for each in orders)


def configs(admin: KafkaAdminClient, topic: str) -> dict[str, str]:
    asked = [ConfigResource(ConfigResourceType.TOPIC, topic)]
    found = admin.describe_configs(asked, config_filter="all")["topic"][topic]
    return {name: data["value"] for name, data in found.items()}


def topics_command(stack: Stack, verb: str) -> tuple[int, dict[str, Any]]:
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "cli.topics.command",
            verb,
            "--kafka",
            stack.endpoints.kafka,
            "--json",
        ],
        env=base_environment(),
        capture_output=True,
        timeout=PATIENCE_S,
        check=False,
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return done.returncode, {topic["topic"]: topic for topic in found["topics"]}


def has_evicted(client: redis.Redis) -> bool:
    """Write a value, so that Redis must evict; return True if it did."""
    with contextlib.suppress(redis.RedisError):
        client.set("test:room", "x", ex=60)
    return int(client.info("stats")["evicted_keys"]) > 1
