"""The examples of docs/contracts: the page there is tested, and lists every example."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cli.stack import paths
from local.parts import kafka_java, packages
from services.ingest.core.intake.kafka_record import read
from shared.mail.headers import scan
from shared.settings.sections import KafkaSettings
from shared.stream.admin import ensure_topics
from shared.stream.client import ClientOptions, make_consumer
from shared.stream.kafka_python.joining import load_metadata
from shared.submission.rules import Submission, judge
from shared.topics import names
from tests.support.patience import PATIENCE_S
from tools import foreign_programs
from tools.run_tests import NODE_PACKAGES

EXAMPLES = paths.ROOT / "docs" / "contracts" / "examples"
DOMAIN = "news.example.com"
CONTENT = (
    f"From: News <hello@{DOMAIN}>\r\nTo: anna@example.net\r\nSubject: Hello\r\n"
    f"Message-ID: <1@{DOMAIN}>\r\n\r\nGröße\r\n.\r\n\r\nlast\r\n"
).encode()


def read_records(bootstrap: str, topic: str, count: int) -> list[Any]:
    consumer = make_consumer(ClientOptions(bootstrap, "test"), f"examples.{time.time_ns()}")
    consumer.subscribe([topic])
    load_metadata(consumer)
    until = time.monotonic() + PATIENCE_S
    found: list[Any] = []
    while len(found) < count:
        assert time.monotonic() < until, f"only {len(found)} of {count} records"
        found += [record for part in consumer.poll(timeout_ms=200).values() for record in part]
    consumer.close()
    return found


@pytest.mark.parametrize("code", [(), ("SPRING26",)])
def test_the_kafka_python_example_hands_in_two_messages_that_keep_every_rule(
    kafka_bootstrap: str, code: tuple[str, ...]
) -> None:
    client = f"example-{len(code)}-{time.time_ns()}"
    ensure_topics(KafkaSettings(bootstrap=kafka_bootstrap), [names.intake_plan(client)])
    script = EXAMPLES / "kafka-python" / "publish.py"
    arguments = (kafka_bootstrap, client, f"hello@{DOMAIN}", "anna@example.net", *code)
    done = subprocess.run(
        [sys.executable, script, *arguments],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(f"mail.intake.{client} partition") == 2
    now_ms = int(time.time() * 1000)
    readings = [
        read(record.value, record.headers, now_ms)
        for record in read_records(kafka_bootstrap, names.intake(client), 2)
    ]
    for reading in readings:
        assert reading.faults == ()
        given = reading.given
        submission = Submission(DOMAIN, codes=frozenset(code), code=given.code)
        assert given.code == "".join(code)
        assert judge(scan(reading.content), submission) == ()
    plain, event = sorted(readings, key=lambda reading: reading.given.submission_key)
    assert plain.given.submission_key == ""
    assert event.given.submission_key
    assert event.given.expires_at_ms > now_ms


def java() -> str:
    """The Java next to javac: it can run a source file."""
    compiler = packages.find_program("javac")
    assert compiler is not None, "javac is missing: Debian's package default-jdk-headless has it"
    return str(Path(compiler).resolve().with_name("java"))


# The command of the file, as in its first lines; what is found where the program is named last.
COMMANDS: dict[str, Callable[[], list[str]]] = {
    "confluent-kafka/publish.py": lambda: [sys.executable],
    "node/publish.js": lambda: [foreign_programs.find_node()],
    "java/Publish.java": lambda: [java(), "-cp", f"{kafka_java.fetch_jars()}/*"],
    "kcat/publish.sh": lambda: ["sh"],
}


@pytest.mark.parametrize("example", COMMANDS)
def test_an_example_hands_in_a_file_byte_for_byte_that_keeps_every_rule(
    kafka_bootstrap: str, tmp_path: Path, example: str
) -> None:
    client = f"example-{example.partition('/')[0]}-{time.time_ns()}"
    ensure_topics(KafkaSettings(bootstrap=kafka_bootstrap), [names.intake_plan(client)])
    message = tmp_path / "message.eml"
    message.write_bytes(CONTENT)
    done = subprocess.run(
        [*COMMANDS[example](), EXAMPLES / example, kafka_bootstrap, client, message],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
        env={**os.environ, "NODE_PATH": str(foreign_programs.fetch_modules(NODE_PACKAGES))},
    )
    assert done.returncode == 0, done.stderr
    (record,) = read_records(kafka_bootstrap, names.intake(client), 1)
    reading = read(record.value, record.headers, int(time.time() * 1000))
    assert reading.faults == ()
    assert reading.content == CONTENT
    assert reading.given.submission_key
    assert judge(scan(reading.content), Submission(DOMAIN)) == ()


def test_the_page_names_every_example() -> None:
    page = (EXAMPLES.parent / "README.md").read_text("utf-8")
    files = [path for path in EXAMPLES.rglob("*") if path.is_file() and path.suffix != ".pyc"]
    assert len(files) == 5
    for path in files:
        assert f"({path.relative_to(EXAMPLES.parent)})" in page
