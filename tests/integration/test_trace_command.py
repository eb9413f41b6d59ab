"""`sluice trace` on a real pipeline: from the command to deliver and back."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest
from kafka import KafkaProducer

from cli.control.topic import read_last
from cli.stack.paths import base_environment
from local.stack import Stack
from shared.registry.client import Client
from shared.registry.store import publish
from shared.registry.store.changes import Changes
from shared.settings.sections import KafkaSettings, RedisSettings
from shared.store.client import connect
from shared.store.traces import PREFIX
from shared.topics import names
from shared.topics.records import EventType
from shared.topics.traces import Trace, decode_trace
from tests.support.chaos.witnesses import EventWatch
from tests.support.patience import PATIENCE_S
from tests.support.smtp_peers import wait_until

# One process runs all modules that use this pipeline.
pytestmark = pytest.mark.xdist_group("shared-line")

CLIENT: Final = "traced"
DOMAIN: Final = "news.traced.example"


class Operator:
    """A pipeline, its events, and a running `sluice trace`."""

    def __init__(self, stack: Stack, watch: EventWatch, folder: Path) -> None:
        self.kafka = KafkaSettings(bootstrap=stack.endpoints.kafka)
        self.redis = RedisSettings(url=stack.endpoints.redis)
        self._watch = watch
        self._folder = folder
        self._producer = KafkaProducer(
            bootstrap_servers=stack.endpoints.kafka, metrics_enabled=False
        )
        self.out, self.err = folder / "out", folder / "err"

    @contextmanager
    def tracing(self, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
        where = {
            "SLUICE_KAFKA__BOOTSTRAP": self.kafka.bootstrap,
            "SLUICE_REDIS__URL": self.redis.url,
        }
        with self.out.open("wb") as out, self.err.open("wb") as err:
            process = subprocess.Popen(
                [sys.executable, "-m", "cli.trace.command", *arguments],
                stdout=out,
                stderr=err,
                env={**os.environ, **base_environment(), **where},
            )
        try:
            yield process
        finally:
            process.kill()
            process.wait(PATIENCE_S)

    def submit(self, name: str, domain: str) -> None:
        content = (
            f"From: News <news@{DOMAIN}>\r\nTo: ok-{name}@{domain}\r\nSubject: confidential\r\n"
            f"Message-ID: <{name}@{DOMAIN}>\r\n\r\nHello\r\n"
        )
        self._producer.send(names.intake(CLIENT), content.encode())
        self._producer.flush()

    def is_delivered(self, name: str) -> bool:
        return any(
            event.type is EventType.DELIVERED and event.data.message_id == f"<{name}@{DOMAIN}>"
            for event in self._watch.events(frozenset({CLIENT}))
        )

    def lines(self) -> list[dict[str, Any]]:
        whole = self.out.read_text().rpartition("\n")[0]
        return [json.loads(line) for line in whole.splitlines()]

    def texts(self) -> list[str]:
        return [line["text"] for line in self.lines()]

    def traces(self) -> list[Trace]:
        return read_last(self.kafka, decode_trace)

    def close(self) -> None:
        self._producer.close(timeout=10)


@pytest.fixture
def operator(shared_line: Stack, tmp_path: Path) -> Iterator[Operator]:
    client = Client(CLIENT, DOMAIN, "back@traced.example.org", "standard")
    kafka = KafkaSettings(bootstrap=shared_line.endpoints.kafka)
    publish.apply(kafka, Changes(added=(client,)))
    watch = EventWatch(shared_line.endpoints.kafka)
    operator = Operator(shared_line, watch, tmp_path)
    yield operator
    operator.close()
    watch.close()


def test_dialogs_are_shown_live_and_nothing_is_left_when_the_command_has_ended(
    operator: Operator,
) -> None:
    arguments = ("--domain", "Shown.Example", "--for", "10m", "--author", "ann", "--json")
    with operator.tracing(*arguments) as process:
        wait_until(lambda: ": tracing" in operator.err.read_text(), "a worker traces")
        (trace,) = operator.traces()
        assert (trace.domain, trace.author) == ("shown.example", "ann")
        operator.submit("hidden", "other.example")
        operator.submit("first", "shown.example")
        rcpt = "RCPT TO:<ok-first@shown.example>"
        wait_until(lambda: rcpt in operator.texts(), "the dialog is shown")

        # Nobody waits for a reader that is paused; it catches up.
        process.send_signal(signal.SIGSTOP)
        operator.submit("second", "shown.example")
        wait_until(lambda: operator.is_delivered("second"), "mail is delivered meanwhile")
        process.send_signal(signal.SIGCONT)
        rcpt = "RCPT TO:<ok-second@shown.example>"
        wait_until(lambda: rcpt in operator.texts(), "the dialog is shown")

        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE_S) == 0
    wait_until(lambda: operator.is_delivered("hidden"), "the other message is delivered")
    text = operator.out.read_text()
    assert "other.example" not in text
    assert "confidential" not in text
    kinds = {line["kind"] for line in operator.lines()}
    assert kinds >= {">", "<"}
    mail = [line for line in operator.lines() if line["text"].startswith("MAIL FROM")]
    assert all(line["source"] and line["server"] and line["mail_id"] for line in mail)
    assert operator.traces() == []
    # A worker may have written its last lines after the command has deleted all: they expire.
    client = connect(operator.redis)
    key = PREFIX + trace.trace_id
    assert client.exists(key) == 0 or client.ttl(key) > 0


def test_a_trace_ends_by_itself_and_so_does_its_command(operator: Operator) -> None:
    with operator.tracing("--mail-id", "01JDWJ5Z3M0000000000000001", "--for", "2s") as process:
        assert process.wait(PATIENCE_S) == 0
    assert operator.out.read_text() == ""
    assert operator.traces() == []
