"""Billing as a process that closes months and writes checkpoints: killed at every step of it."""

from __future__ import annotations

import subprocess
import time
import uuid
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaAdminClient
from kafka.structs import TopicPartition
from msgspec import Struct

from local.stack import Stack, StackOptions
from services.billing.core.checkpoint import Manifest
from services.billing.core.month import next_month
from services.billing.edge.log_ends import EndsAsker
from services.billing.edge.statements.topic import StatementTopic
from shared.runtime.clock import now_ms
from shared.runtime.failpoints import BOOKS_NAMES, EXIT_CODE
from shared.settings.sections import KafkaSettings, RedisSettings
from shared.store.client import connect
from shared.stream.admin import ensure_topics
from shared.stream.client import ClientOptions, make_producer
from shared.topics import ids
from shared.topics.codec import encode_event
from shared.topics.names import EVENTS, plans
from shared.topics.records import EventType, MailEvent
from tests.support.billing.process import run_verb, serving
from tests.support.billing.stage import UTC_MONTHS
from tests.support.patience import PATIENCE_S

MESSAGES = 20


class Installation(Struct):
    """A broker and a store that no other test uses."""

    env: dict[str, str]
    bootstrap: str
    folder: Path
    month: str  # ended long enough ago to be closed

    def billing(self, **extra: str) -> AbstractContextManager[subprocess.Popen[bytes]]:
        return serving({**self.env, **extra}, self.folder / "log")

    def run(self, *arguments: str) -> tuple[int, Any]:
        return run_verb(self.env, *arguments)

    def publish(self, number: int, month: str) -> None:
        at_ms = UTC_MONTHS.begin_ms(month) + 14 * 86_400_000
        producer = make_producer(ClientOptions(self.bootstrap, "test"), None)
        for _ in range(number):
            data = MailEvent(
                "shop", "news", at_ms=at_ms, first_dispatch=True, first_dispatched_at_ms=at_ms
            )
            mail_id = ids.derive(uuid.uuid4().hex, 0, 0, at_ms)
            key, value, headers = encode_event(EventType.DELIVERED, mail_id, data, "deliver")
            producer.send(EVENTS, value, key, headers)
        producer.flush()
        producer.close()

    def wait_until_closed(self, month: str) -> list[str]:
        """The tokens of all headers that count, of one reader and then of another."""
        until = time.monotonic() + PATIENCE_S
        while True:
            assert time.monotonic() < until, (self.folder / "log").read_text()
            topic = StatementTopic(ClientOptions(self.bootstrap, "test"))
            try:
                topic.read()
            finally:
                topic.close()
            if month in topic.chain.closed:
                return [each.statement.token for each in topic.chain.closed.values()]
            time.sleep(0.2)

    def checkpoint(self) -> Manifest | None:
        """The last checkpoint."""
        topic = StatementTopic(ClientOptions(self.bootstrap, "test"))
        try:
            topic.read()
            return topic.checkpoints.best()
        finally:
            topic.close()

    def wait_for_checkpoint(self) -> None:
        """Wait for a checkpoint that includes everything that is published now."""
        asker = EndsAsker(ClientOptions(self.bootstrap, "test"))
        ends = asker.ask().ends
        asker.close()
        until = time.monotonic() + PATIENCE_S
        while True:
            assert time.monotonic() < until, (self.folder / "log").read_text()
            marks = ((found := self.checkpoint()) and found.watermarks) or {}
            if all(marks.get(str(part), 0) >= end for part, end in ends.items()):
                return
            time.sleep(0.2)

    def delete_events(self) -> None:
        """Delete from Kafka all that the last checkpoint includes."""
        found = self.checkpoint()
        assert found is not None
        admin = KafkaAdminClient(bootstrap_servers=self.bootstrap)
        admin.delete_records(
            {TopicPartition(EVENTS, int(part)): mark for part, mark in found.watermarks.items()}
        )
        admin.close()

    def empty_store(self) -> None:
        client = connect(RedisSettings(url=self.env["SLUICE_REDIS__URL"]))
        client.flushall()
        client.close()


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[Installation]:
    stack = Stack(
        StackOptions(
            name="books", folder=tmp_path / "stack", services=(), sink=False, is_lasting=False
        )
    )
    stack.start()
    try:
        bootstrap = stack.endpoints.kafka
        ensure_topics(KafkaSettings(bootstrap=bootstrap), plans(("default",)))
        month = next_month(UTC_MONTHS.of(now_ms()), -2)
        key = tmp_path / "key.pem"
        env = {
            "SLUICE_KAFKA__BOOTSTRAP": bootstrap,
            "SLUICE_REDIS__URL": stack.endpoints.redis,
            "SLUICE_RUNTIME__INSTANCE": "books",
            "SLUICE_KAFKA__STATIC_MEMBERSHIP": "true",
            "SLUICE_BILLING__CHECKPOINT_S": "1",
            # The month before this one is waited for, also in the first days of a month.
            "SLUICE_BILLING__CLOSE_GRACE_H": "0",
            "SLUICE_BILLING__SIGNING_KEY_FILE": str(key),
        }
        found = Installation(env, bootstrap, tmp_path, month)
        code, _ = found.run("signing-key", "create", str(key))
        assert code == 0
        yield found
    finally:
        stack.abandon()


def test_killed_at_every_step_it_writes_one_statement_and_its_checkpoints_are_good(
    installation: Installation,
) -> None:
    month = installation.month
    installation.publish(MESSAGES, month)
    for failpoint in BOOKS_NAMES:
        with installation.billing(SLUICE_FAILPOINT=f"{failpoint}:1") as process:
            installation.publish(1, next_month(month, 2))  # something for a checkpoint
            until = time.monotonic() + PATIENCE_S
            while process.poll() is None and time.monotonic() < until:
                if failpoint in ("billing.closing", "billing.part_written", "billing.closed"):
                    time.sleep(0.1)
                else:
                    installation.publish(1, next_month(month, 2))
                    time.sleep(0.5)
            log = (installation.folder / "log").read_text()
            assert process.poll() == EXIT_CODE, (failpoint, log)
        if failpoint == "billing.closed":
            tokens = installation.wait_until_closed(month)
    with installation.billing():
        after = installation.wait_until_closed(next_month(month))
        assert after[: len(tokens)] == tokens
    code, proof = installation.run("verify", month)
    assert (code, proof["proved"], proof["signed"]) == (0, True, True)
    code, report = installation.run("recount")
    assert report["differences"] == []


def test_the_commands_close_list_prove_and_archive(installation: Installation) -> None:
    month = installation.month
    env = {"SLUICE_BILLING__CLOSE_AUTOMATICALLY": "false"}
    installation.publish(MESSAGES, month)
    installation.publish(3, next_month(month, 2))
    with installation.billing(**env):
        code, found = installation.run("close", month, "--yes")
        assert (code, found["totals"]) == (0, {"billed": MESSAGES, "delivered": MESSAGES})
        assert installation.run("close", month, "--yes")[1]["token"] == found["token"]
        code, found = installation.run("close", next_month(month, 2), "--yes")
        assert (code, "has not ended yet" in found["error"]) == (2, True)
        assert installation.run("close", "soon", "--yes")[0] == 2
        _, listed = installation.run("months")
        assert [each["state"] for each in listed] == ["closed", "open"]
        assert installation.run("verify", month)[0] == 0
    with installation.billing(SLUICE_BILLING__TIME_ZONE="Europe/Berlin") as process:
        assert process.wait(PATIENCE_S) == 2
        assert "billing.time_zone: 'Europe/Berlin' was found" in (
            installation.folder / "log"
        ).read_text("utf-8")
    with installation.billing(**env):
        archive = str(installation.folder / "archive")
        code, found = installation.run("archive", "--to", archive)
        assert (code, found["records"], found["statements"]) == (0, MESSAGES + 3, [month])
        assert installation.run("archive", "--to", archive)[1]["records"] == 0
        assert installation.run("verify", month, "--archive", archive)[1]["proved"]
        code, report = installation.run("recount", "--archive", archive)
        assert (code, report["agree"]) == (0, True)
        assert installation.run("verify", next_month(month))[0] == 2
        code, shown = installation.run("signing-key", "show")
        assert (code, "BEGIN PUBLIC KEY" in shown["pem"]) == (0, True)
        public = installation.folder / "public.pem"
        public.write_text(shown["pem"])
        arguments = ("--archive", archive, "--public-key", str(public))
        assert installation.run("verify", month, *arguments)[0] == 0
        other = installation.folder / "other.pem"
        assert installation.run("signing-key", "create", str(other))[0] == 0
        assert installation.run("signing-key", "create", str(other))[0] == 2


def test_under_load_it_is_killed_and_emptied_while_kafka_deletes_and_every_count_is_exact(
    installation: Installation,
) -> None:
    month, later = installation.month, next_month(installation.month, 2)
    archive = str(installation.folder / "archive")
    installation.publish(200, month)
    with installation.billing():
        tokens = installation.wait_until_closed(month)
    for _ in range(3):
        with installation.billing():  # ended by kill -9
            installation.publish(100, later)
            installation.empty_store()
            installation.publish(100, later)
            installation.wait_for_checkpoint()
        assert installation.run("archive", "--to", archive)[0] == 0
        installation.delete_events()
    installation.empty_store()
    with installation.billing():
        code, found = installation.run("usage", "--month", later, "--wait", "60")
        assert (code, [row["billed"] for row in found["rows"]]) == (0, [600])
        assert installation.run("usage", "--month", month)[1]["rows"][0]["billed"] == 200
        code, report = installation.run("recount", "--archive", archive)
        assert (code, report["agree"]) == (0, True)
        assert installation.wait_until_closed(month)[:1] == tokens[:1]
    proof = installation.run("verify", month)[1]
    assert any("an archive may have them" in fault for fault in proof["faults"])
    assert installation.run("verify", month, "--archive", archive)[1]["proved"]
