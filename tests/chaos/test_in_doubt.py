"""Fault: deliver dies before, while or after it offers messages with `on_doubt: hold`."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, Final

import pytest
from kafka import KafkaProducer

from cli.audit.command import audit
from shared.registry.client import Client, Code
from shared.registry.store import publish
from shared.registry.store.changes import Changes
from shared.runtime.errors import PartUnavailable
from shared.settings.sections import KafkaSettings
from shared.stream.client import ClientOptions
from shared.topics import names
from shared.topics.records import FINAL, EventType, OnDoubt
from tests.support.chaos.stage import Stage
from tests.support.chaos.witnesses import EventWatch, SinkJournal
from tests.support.fork_server import run_module
from tests.support.patience import PATIENCE_S

CLIENT: Final = "doubtful"
DOMAIN: Final = "news.doubtful.example"
RECIPIENTS: Final = "doubtful.example"
EACH: Final = 4
# The failpoints at which deliver dies, and whether a message can then be in doubt.
POINTS: Final = (
    ("deliver.naming", False),
    ("deliver.named", True),
    ("deliver.mail_sent", True),
    ("deliver.data_sent", True),
    ("deliver.final_reply", True),
)


class Codes:
    """Submits one-time codes and follows their events."""

    def __init__(self, stage: Stage) -> None:
        self._bootstrap = stage.bootstrap
        self._sink = SinkJournal(stage.stack.sink_journal)
        self.watch = EventWatch(stage.bootstrap)
        self._producer = KafkaProducer(bootstrap_servers=stage.bootstrap, metrics_enabled=False)
        self.sent: list[str] = []

    def submit(self, point: str) -> list[str]:
        """Submit messages; return their recipients."""
        added = [f"ok-{point.replace('.', '-')}-{n}@{RECIPIENTS}" for n in range(EACH)]
        for recipient in added:
            self._producer.send(
                names.intake(CLIENT),
                f"From: <n@{DOMAIN}>\r\nTo: {recipient}\r\nSubject: 4711\r\nX-bm-mailing: login\r\n"
                f"Message-ID: <{recipient.partition('@')[0]}@{DOMAIN}>\r\n\r\n4711\r\n".encode(),
            )
        self._producer.flush()
        self.sent += added
        return added

    def finals(self) -> Counter[tuple[str, EventType]]:
        events = self.watch.events(frozenset({CLIENT}))
        return Counter(
            (event.data.recipient, event.type) for event in events if event.type in FINAL
        )

    def held(self) -> set[str]:
        events = self.watch.events(frozenset({CLIENT}))
        ended = {event.data.recipient for event in events if event.type in FINAL}
        return {event.data.recipient for event in events if event.data.held} - ended

    def copies(self) -> Counter[str]:
        lines = self._sink.lines(RECIPIENTS)
        return Counter(line.rcpt for line in lines if line.verdict == "accepted")

    def wait(self, is_met: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not is_met():
            assert time.monotonic() < deadline, (self.finals(), self.held(), self.copies())
            time.sleep(0.1)

    def run(self, *arguments: str, code: int = 0) -> Any:
        kafka = {"SLUICE_KAFKA__BOOTSTRAP": self._bootstrap}
        found = run_module("cli.indoubt.command", *arguments, "--json", env=kafka)
        assert found.returncode == code, found.stderr
        return json.loads(found.stdout)

    def wait_books(self, received: int, held: int) -> None:
        """Wait until audit counts these numbers of messages, and no waiting message.

        A commit reaches each topic, and the topic of the offsets, at a different time.
        """

        def are_so() -> bool:
            try:
                report = audit(ClientOptions(self._bootstrap, "test"))
            except PartUnavailable:  # on a busy machine, Kafka answers some questions too late
                return False
            rows = [row for row in report.rows if row.client == CLIENT]
            found = [(row.received, row.held, row.waiting) for row in rows]
            return report.balanced and found == [(received, held, 0)]

        self.wait(are_so)

    def close(self) -> None:
        self._producer.close(timeout=10)
        self.watch.close()


@pytest.fixture
def codes(stage: Stage) -> Iterator[Codes]:
    code = Code("codes", "logins", on_doubt=OnDoubt.HOLD)
    client = Client(CLIENT, DOMAIN, "back@doubtful.example.org", "standard", {"login": code})
    publish.apply(KafkaSettings(bootstrap=stage.bootstrap), Changes(added=(client,)))
    codes = Codes(stage)
    yield codes
    codes.close()


def test_what_may_have_been_sent_is_held_and_nothing_is_sent_twice(
    stage: Stage, codes: Codes
) -> None:
    for point, may_be_held in POINTS:
        stage.stack.stop_part("deliver")
        added = codes.submit(point)
        stage.restart("deliver", f"{point}:1")
        assert stage.wait_failpoint("deliver", PATIENCE_S), f"{point} was not passed"
        stage.restart("deliver")
        codes.wait(lambda: codes.held() | {who for who, _ in codes.finals()} == set(codes.sent))
        held = codes.held() & set(added)
        assert bool(held) is may_be_held, (point, held)
        # A message that is not listed was certainly not sent before, so it was delivered now.
        finals = codes.finals()
        assert {who for who in added if finals[who, EventType.DELIVERED]} == set(added) - held
    assert max(codes.copies().values()) == 1
    held = codes.held()
    codes.wait_books(len(codes.sent), len(held))
    _decide(codes, held)
    codes.wait_books(len(codes.sent), 0)
    assert set(codes.finals().values()) == {1}
    assert max(codes.copies().values()) == 1


def _decide(codes: Codes, held: set[str]) -> None:
    """Send the held messages that the sink does not have, and drop the others."""
    listed = {row["recipient"]: row["mail_id"] for row in codes.run("list")["messages"]}
    assert listed.keys() >= held
    missing = {who for who in held if not codes.copies()[who]}
    assert missing  # These messages are listed as in doubt but were not sent.
    for who in held:
        decision = "send" if who in missing else "drop"
        assert codes.run(decision, listed[who], "--author", "ann")["decision"] == decision
    for who in sorted(held - missing)[:1]:
        # The cancellation was confirmed, so `send` cannot undo it. If the message has already
        # ended, it is not held any more.
        refused = codes.run("send", listed[who], "--author", "bob", code=1)
        assert refused["decision"] in ("drop", "")
    codes.wait(lambda: not codes.held())
    finals = codes.finals()
    assert all(finals[who, EventType.DELIVERED] for who in missing)
    assert all(finals[who, EventType.CANCELLED] for who in held - missing)
    assert all(codes.copies()[who] == 1 for who in missing)
