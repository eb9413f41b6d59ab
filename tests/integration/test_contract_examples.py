"""The examples of docs/contracts: what the page there says is tested, and no more."""

from __future__ import annotations

import py_compile
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from services.ingest.core.kafka_record import read
from shared.cli import places
from shared.mail.headers import scan
from shared.mail.rules import Submission, judge
from shared.stream.admin import ensure_topics
from shared.stream.client import ClientOptions, load_metadata, make_consumer
from shared.topics import names

EXAMPLES = places.ROOT / "docs" / "contracts" / "examples"
DOMAIN = "news.example.com"
WAIT_S = 60.0


def read_two(bootstrap: str, topic: str) -> list[Any]:
    consumer = make_consumer(ClientOptions(bootstrap, "test"), f"examples.{time.time_ns()}")
    consumer.subscribe([topic])
    load_metadata(consumer)
    until = time.monotonic() + WAIT_S
    found: list[Any] = []
    while len(found) < 2:
        assert time.monotonic() < until, f"only {len(found)} of 2 records"
        found += [record for part in consumer.poll(timeout_ms=200).values() for record in part]
    consumer.close()
    return found


@pytest.mark.parametrize("code", [(), ("SPRING26",)])
def test_the_kafka_python_example_hands_in_two_messages_that_keep_every_rule(
    kafka_bootstrap: str, code: tuple[str, ...]
) -> None:
    client = f"example-{len(code)}-{time.time_ns()}"
    ensure_topics(kafka_bootstrap, [names.intake_plan(client)])
    script = EXAMPLES / "kafka-python" / "publish.py"
    arguments = (kafka_bootstrap, client, f"hello@{DOMAIN}", "anna@example.net", *code)
    done = subprocess.run(
        [sys.executable, script, *arguments],
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(f"mail.intake.{client} partition") == 2
    now_ms = int(time.time() * 1000)
    readings = [
        read(record.value, record.headers, now_ms)
        for record in read_two(kafka_bootstrap, names.intake(client))
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


def test_the_confluent_kafka_example_compiles(tmp_path: Path) -> None:
    script = EXAMPLES / "confluent-kafka" / "publish.py"
    py_compile.compile(str(script), cfile=str(tmp_path / "publish.pyc"), doraise=True)


@pytest.mark.skipif(shutil.which("node") is None, reason="Node is not installed")
def test_the_node_example_is_javascript() -> None:
    script = EXAMPLES / "node" / "publish.js"
    subprocess.run(["node", "--check", script], check=True, timeout=WAIT_S)


def test_the_kcat_example_is_a_shell_script() -> None:
    subprocess.run(["sh", "-n", EXAMPLES / "kcat" / "publish.sh"], check=True, timeout=WAIT_S)


def test_the_page_names_every_example() -> None:
    page = (EXAMPLES.parent / "README.md").read_text("utf-8")
    files = [path for path in EXAMPLES.rglob("*") if path.is_file() and path.suffix != ".pyc"]
    assert len(files) == 5
    for path in files:
        assert f"({path.relative_to(EXAMPLES.parent)})" in page
