"""An upgrade of billing alone: an earlier and the present version count into one Redis.

A long run: `./sluice test --long -k two_billing_versions --previous REVISION`. Without the option
the last release is the earlier version; as long as there is none, the test is deselected. Both
processes share the group and the cells; they count, answer and write checkpoints. Each version
reads the counts of one moment in a different way while the other version counts. Then each process
gets the other version and later its first version again. Finally the cells are lost.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

import pytest
import redis

from cli.stack import paths
from local.parts.ports import free_ports
from local.stack import Stack, StackOptions
from shared.stream.client import ClientOptions, make_producer
from shared.topics import ids
from shared.topics.codec import encode_event, encode_tally
from shared.topics.event_records import Tally, TallyRow
from shared.topics.names import EVENTS
from shared.topics.records import EventType, MailEvent
from tests.support.billing.process import run_verb
from tests.support.billing.stage import eventually
from tests.support.chaos.stage import stage_name
from tests.support.chaos.versions import last_release, unpack
from tests.support.patience import PATIENCE_S

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]

MONTH: Final = "2026-10"
NOON_MS: Final = 1_792_065_600_000  # 2026-10-15T12:00Z
MAILINGS: Final = 2_500  # three cells each: more than one piece of a month
CELLS_KEY: Final = "{two}:cells"


class Pair:
    """Two billing processes with a separate Kafka and Redis, and the number of published events."""

    def __init__(self, stack: Stack, folder: Path) -> None:
        self._folder = folder
        self._ports = free_ports(2)
        self.redis_url = stack.endpoints.redis
        self.published = 0
        self._producer = make_producer(ClientOptions(stack.endpoints.kafka, "test"), None)
        self.env = {
            "SLUICE_KAFKA__BOOTSTRAP": stack.endpoints.kafka,
            "SLUICE_REDIS__URL": self.redis_url,
            "SLUICE_BILLING__CELLS_KEY": CELLS_KEY,
            "SLUICE_BILLING__SERVE_WITHOUT_KEYS": "true",
            "SLUICE_BILLING__CLOSE_AUTOMATICALLY": "false",
            "SLUICE_BILLING__CHECKPOINT_S": "1",
            "SLUICE_BILLING__POLL_RECORDS": "500",
        }

    def close(self) -> None:
        self._producer.close()

    @contextmanager
    def process(self, number: int, version: Mapping[str, str]) -> Iterator[None]:
        """Yield a process of this version, stopped gracefully at the end."""
        own = {
            "SLUICE_RUNTIME__INSTANCE": f"billing-{number}",
            "SLUICE_BILLING__HTTP_PORT": str(self._ports[number]),
        }
        # The code of the working folder comes first.
        root = version.get("PYTHONPATH", str(paths.ROOT))
        log = self._folder / f"billing-{number}.log"
        with log.open("ab") as out:
            process = subprocess.Popen(
                [sys.executable, "-m", "services.billing", "serve"],
                env={**os.environ, **self.env, **own, **version},
                cwd=root,
                stdout=out,
                stderr=subprocess.STDOUT,
            )
        try:
            yield
            process.send_signal(signal.SIGTERM)
            assert process.wait(PATIENCE_S) == 0, log.read_text()[-5_000:]
        finally:
            process.kill()
            process.wait()

    def publish(self) -> None:
        """Publish one more event per mailing, over all partitions."""
        rows = tuple(TallyRow("shop", f"m{number}", "", 1) for number in range(MAILINGS))
        tally = Tally("validate", NOON_MS, rows)
        records = [encode_tally(tally, f"validate.{self.published}")]
        for number in range(MAILINGS):
            self.published += 1
            mail_id = ids.derive("two", 0, self.published, NOON_MS)
            data = MailEvent("shop", f"m{number}", at_ms=NOON_MS, first_dispatch=True)
            records.append(encode_event(EventType.DELIVERED, mail_id, data, "deliver"))
        for key, value, headers in records:
            self._producer.send(EVENTS, value, key, headers)
        self._producer.flush()

    def billed(self, number: int) -> int:
        """Return the count that a process answers now; -1 if the process does not answer."""
        query = f"v1/usage?month={MONTH}&group=month&wait_s=1"
        url = f"http://127.0.0.1:{self._ports[number]}/{query}"
        try:
            with urllib.request.urlopen(url, timeout=PATIENCE_S) as answer:
                found: dict[str, Any] = json.load(answer)
        except (urllib.error.URLError, ConnectionError):
            return -1
        totals = found["totals"]
        # One run of records adds an event to both counters, so a view of one moment has it in both.
        assert totals["billed"] == totals["delivered"], totals
        return int(totals["billed"])

    def follow(self, numbers: tuple[int, ...]) -> None:
        """Publish events and query these processes until each has counted all events."""
        before = dict.fromkeys(numbers, 0)
        for _ in range(4):
            self.publish()
            for number in numbers:
                self._ask(number, before)
        eventually(
            lambda: all(self._ask(each, before) == self.published for each in numbers),
            "every process has everything",
        )

    def _ask(self, number: int, before: dict[int, int]) -> int:
        found = self.billed(number)
        assert found == -1 or before[number] <= found <= self.published
        before[number] = max(before[number], found)
        return found

    def lose_cells(self) -> None:
        with redis.Redis.from_url(self.redis_url) as client:
            client.flushdb()


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    name = f"{stage_name()}-billing"
    stack = Stack(StackOptions(name=name, services=(), sink=False))
    with ExitStack() as closing:
        closing.callback(shutil.rmtree, paths.run_folder(name), ignore_errors=True)
        closing.callback(stack.stop)
        stack.start()
        found = Pair(stack, tmp_path)
        closing.callback(found.close)
        yield found


def test_two_billing_versions_side_by_side_count_each_event_once(
    request: pytest.FixtureRequest, tmp_path: Path, pair: Pair
) -> None:
    earlier = unpack(request.config.getoption("--previous") or last_release(), tmp_path)
    with pair.process(0, earlier):
        pair.publish()  # A month without events does not exist.
        eventually(lambda: pair.billed(0) >= 0, "the earlier version answers")
        pair.follow((0,))
        with pair.process(1, {}):
            eventually(lambda: pair.billed(1) >= 0, "the present version answers")
            pair.follow((0, 1))
            # A command that runs beside both processes reads the counts of one moment.
            code, report = run_verb(pair.env, "recount")
            assert (code, report["agree"], report["differences"]) == (0, True, [])
            pair.follow((0, 1))
    with pair.process(0, {}), pair.process(1, earlier):
        pair.follow((0, 1))
        code, closed = run_verb(pair.env, "close", MONTH, "--yes")
        assert (code, closed["totals"]["billed"]) == (0, pair.published)
        assert run_verb(pair.env, "verify", MONTH)[1]["proved"]
    # Each version restores lost cells, also from a checkpoint of the other version.
    pair.lose_cells()
    with pair.process(0, earlier), pair.process(1, {}):
        eventually(
            lambda: run_verb(pair.env, "recount")[1]["agree"], "what was lost is counted again"
        )
    _, found = run_verb(pair.env, "usage", "--month", MONTH, "--live")
    assert sum(row["billed"] for row in found["rows"]) == pair.published
