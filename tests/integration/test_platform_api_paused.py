"""A process of the API for platforms is paused in the midst of writing, while another one answers.

The first process gets a stream of changes and is paused (SIGSTOP) for longer than a request may
take. What it did not answer is asked of the second process, which undoes it. Then the first goes
on: it must not write what it had, because the second has said otherwise since.
"""

from __future__ import annotations

import random
import signal
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from contextlib import closing
from http.client import HTTPException
from typing import Final

import pytest
from msgspec import Struct

from local.parts import ports
from services.validate.edge.platform_api.writer import ANSWER_S, WRITE_S
from shared.access.keys import AccessKey, Right, Scope
from shared.access.topic import create_key
from shared.registry.client import Client
from shared.registry.store import publish
from shared.registry.store.changes import Changes
from shared.settings.sections import KafkaSettings
from shared.stream.client import ClientOptions
from shared.stream.log_reader import LogReader
from shared.topics import names
from shared.topics.suppressions import PARTITION, Suppression, decode_suppression
from tests.support.keeping_server import ReturnedLine
from tests.support.patience import PATIENCE_S
from tests.support.smtp_peers import wait_until

pytestmark = [pytest.mark.xdist_group("returned-round"), pytest.mark.long]

THREADS: Final = 8
ROUNDS: Final = 3
PAUSE_S: Final = WRITE_S + ANSWER_S + 3.0
SECOND: Final = "api-2"


class Api(Struct, frozen=True):
    """One process of the API."""

    url: str
    key: str

    def ask(self, method: str, address: str, timeout_s: float = PATIENCE_S) -> int:
        """The status; 0 without an answer in time."""
        url = f"{self.url}/v1/suppressions/{address}"
        head = {"Authorization": f"Bearer {self.key}"}
        try:
            request = urllib.request.Request(url, None, head, method=method)
            with urllib.request.urlopen(request, timeout=timeout_s) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code
        except (OSError, HTTPException):
            return 0


class Stream:
    """Adds one recipient after the other, from several threads, until stop()."""

    def __init__(self, api: Api, name: str) -> None:
        self.statuses: dict[str, int] = {}
        self._api, self._name = api, name
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(each,), daemon=True) for each in range(THREADS)
        ]
        for each in self._threads:
            each.start()

    def stop(self) -> None:
        """Wait for the requests that are under way."""
        self._stop.set()
        for each in self._threads:
            each.join(PATIENCE_S)

    def _run(self, thread: int) -> None:
        number = 0
        while not self._stop.is_set():
            address = f"{self._name}-{thread}-{number}@example.com"
            self.statuses[address] = self._api.ask("PUT", address, PAUSE_S)
            number += 1


@pytest.fixture(scope="module")
def apis(returned_line: ReturnedLine) -> tuple[Api, Api]:
    """Two processes, and a key of the client `paused` for both."""
    stack = returned_line.stack
    kafka = KafkaSettings(bootstrap=stack.endpoints.kafka)
    client = Client("paused", "news.paused.example", "back@paused.example.org", "standard")
    publish.apply(kafka, Changes(added=(client,)))
    rights = tuple(right.value for right in Right)
    wanted = AccessKey("", b"", rights, Scope("paused"), created_at_ms=int(time.time() * 1000))
    key, _ = create_key(kafka, wanted)
    (port,) = ports.free_ports(1)
    stack.start_part(
        SECOND, {"SLUICE_API__HTTP_PORT": str(port), "SLUICE_API__REQUESTS_PER_MINUTE": "0"}
    )
    stack.stop_part("api")
    stack.start_part("api", {"SLUICE_API__REQUESTS_PER_MINUTE": "0"})
    for name in ("api", SECOND):
        stack.wait_ready(name)
    found = (
        Api(str(stack.endpoints.api), str(key)),
        Api(f"http://{ports.LOOPBACK}:{port}", str(key)),
    )
    for each in found:
        wait_until(lambda each=each: each.ask("GET", "a@b.example") == 200, "the key", PATIENCE_S)  # type: ignore[misc]
    return found


def records(bootstrap: str) -> list[Suppression]:
    """All records of the client, in order."""
    with closing(LogReader(ClientOptions(bootstrap, "test"), names.SUPPRESSIONS)) as reader:
        read = [decode_suppression(each.value) for each in reader.read_whole(PARTITION, PATIENCE_S)]
    return [each for each in read if isinstance(each, Suppression) and each.client == "paused"]


def test_what_another_process_said_while_one_was_paused_holds(
    returned_line: ReturnedLine, apis: tuple[Api, Api]
) -> None:
    stack, chance = returned_line.stack, random.Random(7)
    first, second = apis
    statuses: dict[str, int] = {}
    for turn in range(ROUNDS):
        stream = Stream(first, f"r{turn}")
        wait_until(lambda found=stream: len(found.statuses) > 20, "changes are made", PATIENCE_S)  # type: ignore[misc]
        time.sleep(chance.random() / 10)  # any moment
        stack.kill("api", signal.SIGSTOP)
        try:
            stream.stop()  # every request is over, by its own time-out
            unanswered = [each for each, status in stream.statuses.items() if status != 200]
            assert unanswered, "no request was under way"
            assert {second.ask("DELETE", each) for each in unanswered} <= {204, 404}
        finally:
            stack.kill("api", signal.SIGCONT)
        statuses |= stream.statuses
        # What it had is over once it answers again: requests are written in their order.
        wait_until(lambda: first.ask("PUT", "last@example.com") == 200, "it goes on", PATIENCE_S)
    found = records(stack.endpoints.kafka)
    listed = {each.recipient: each.active for each in found}
    kept = {each for each, status in statuses.items() if status == 200}
    assert kept <= {each for each, is_active in listed.items() if is_active}, "a change was lost"
    undone = statuses.keys() - kept
    assert not {each for each in undone if listed.get(each)}, "a change was made after its time"
    told = Counter(each.recipient for each in found)
    assert {each: told[each] for each in kept if told[each] != 1} == {}, "a change was made twice"
    stack.stop_part(SECOND)
