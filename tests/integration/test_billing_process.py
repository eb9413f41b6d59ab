"""Billing as a process: killed at every failpoint, queried over HTTP, stopped by SIGTERM."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from msgspec import Struct

from local.parts.ports import free_ports
from shared.runtime.failpoints import EXIT_CODE, NAMES
from shared.stream.client import ClientOptions, make_producer
from shared.topics import ids
from shared.topics.codec import encode_event, encode_tally
from shared.topics.event_records import Tally, TallyRow
from shared.topics.names import EVENTS
from shared.topics.records import EventType, MailEvent
from tests.support.billing.process import run_verb, serving
from tests.support.fork_server import run_module
from tests.support.patience import PATIENCE_S

MONTH = "2026-11"
NOON_MS = 1_794_744_000_000  # 2026-11-15
MESSAGES = 400


class House(Struct):
    """Cells, a group and a client for one test on the shared broker."""

    client: str
    env: dict[str, str]
    port: int
    log: Path

    def billing(self, **extra: str) -> AbstractContextManager[subprocess.Popen[bytes]]:
        return serving({**self.env, **extra}, self.log)

    def verb(self, *arguments: str) -> tuple[int, Any]:
        return run_verb(self.env, *arguments)

    def rows(self) -> list[dict[str, Any]]:
        """The rows over HTTP once all events of this client are counted."""
        url = f"http://127.0.0.1:{self.port}/v1/usage?month={MONTH}&client={self.client}&wait_s=5"
        until = time.monotonic() + PATIENCE_S
        while True:
            assert time.monotonic() < until, self.log.read_text()
            try:
                with urllib.request.urlopen(url, timeout=PATIENCE_S) as answer:
                    found = json.load(answer)
            except (urllib.error.URLError, ConnectionError):
                time.sleep(0.05)
                continue
            # Other tests may write to the shared topic meanwhile, so `complete` cannot be used.
            if sum(row["delivered"] for row in found["rows"]) >= MESSAGES:
                rows: list[dict[str, Any]] = found["rows"]
                return rows


@pytest.fixture
def house(kafka_bootstrap: str, redis_url: str, tmp_path: Path) -> House:
    name = f"t{uuid.uuid4().hex[:12]}"
    (port,) = free_ports(1)
    env = {
        "SLUICE_KAFKA__BOOTSTRAP": kafka_bootstrap,
        "SLUICE_REDIS__URL": redis_url,
        "SLUICE_RUNTIME__INSTANCE": name,
        "SLUICE_KAFKA__STATIC_MEMBERSHIP": "true",
        "SLUICE_BILLING__GROUP": f"billing.{name}",
        "SLUICE_BILLING__CELLS_KEY": f"{{{name}}}:cells",
        "SLUICE_BILLING__HTTP_PORT": str(port),
        "SLUICE_BILLING__POLL_RECORDS": "100",
        "SLUICE_BILLING__SERVE_WITHOUT_KEYS": "true",
        # The topics are shared with other tests, which have counts of their own.
        "SLUICE_BILLING__CLOSE_AUTOMATICALLY": "false",
        "SLUICE_BILLING__CHECKPOINT_S": "86400",
    }
    publish(kafka_bootstrap, name)
    return House(name, env, port, tmp_path / "billing.log")


def publish(bootstrap: str, client: str) -> None:
    producer = make_producer(ClientOptions(bootstrap, "test"), None)
    tally = Tally("validate", NOON_MS, (TallyRow(client, "news", "", MESSAGES),))
    records = [encode_tally(tally, f"validate.{client}")]
    for number in range(MESSAGES):
        mail_id = ids.derive(client, 0, number, NOON_MS)
        data = MailEvent(
            client=client,
            mailing_id="news",
            at_ms=NOON_MS,
            first_dispatch=True,
            first_dispatched_at_ms=NOON_MS,
        )
        records.append(encode_event(EventType.DELIVERED, mail_id, data, "deliver"))
    for key, value, headers in records:
        producer.send(EVENTS, value, key, headers)
    producer.flush()
    producer.close()


@pytest.mark.parametrize("failpoint", NAMES["billing"])
def test_killed_at_a_failpoint_it_counts_each_event_once(house: House, failpoint: str) -> None:
    with house.billing(SLUICE_FAILPOINT=f"{failpoint}:2") as process:
        assert process.wait(PATIENCE_S) == EXIT_CODE, house.log.read_text()
    with house.billing():
        (row,) = house.rows()
    assert (row["billed"], row["received"], row["delivered"]) == (MESSAGES,) * 3
    _, report = house.verb("recount")
    # The shared topic also has messages of other tests, some with two final events.
    assert [one for one in report["differences"] if one["client"] == house.client] == []


def test_sigterm_ends_it_well_and_its_verbs_work_without_it(house: House) -> None:
    with house.billing() as process:
        house.rows()
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 0, house.log.read_text()
    _, found = house.verb("usage", "--month", MONTH, "--client", house.client)
    assert [row["billed"] for row in found["rows"]] == [MESSAGES]
    assert house.verb("usage", "--month", "11")[0] == 2
    code, found = house.verb("adopt-log")
    assert (code, found["adopted"], found["before"]) == (0, False, found["log"])
    # Nobody is there to say yes.
    assert run_module("services.billing", "rebuild", env=house.env).returncode == 2
    assert house.verb("usage", "--month", MONTH, "--client", house.client)[1]["rows"]
    assert house.verb("rebuild", "--yes") == (0, {"dropped": True})
    _, found = house.verb("usage", "--month", MONTH, "--client", house.client)
    assert (found["complete"], found["rows"]) == (False, [])


def test_the_verbs_say_which_part_is_away(house: House) -> None:
    house.env["SLUICE_REDIS__URL"] = "redis://127.0.0.1:1/0"
    code, found = house.verb("usage")
    assert (code, "Redis" in found["error"]) == (3, True)
    house.env["SLUICE_KAFKA__BOOTSTRAP"] = "127.0.0.1:1"
    code, found = house.verb("recount")
    assert (code, "Kafka" in found["error"]) == (3, True)


def test_a_wrong_zone_is_told_by_its_key(house: House) -> None:
    found = subprocess.run(
        [sys.executable, "-m", "services.billing", "serve"],
        env={**os.environ, **house.env, "SLUICE_BILLING__TIME_ZONE": "Mars/Olympus"},
        capture_output=True,
        timeout=PATIENCE_S,
        text=True,
        check=False,
    )
    assert found.returncode == 2
    assert "time_zone: found 'Mars/Olympus', expected an IANA zone" in found.stderr
