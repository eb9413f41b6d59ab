"""Upgrade: the bounce door moves from ingest to a separate process and back, under load.

Both forms listen on one address for some time, as the pods behind one Service do. Then the
processes of the old form are stopped in order. Every message that got its 250 is on mail.returned.
A message without a 250 is sent again, as mail servers do; each sending adds at most one record.
"""

from __future__ import annotations

import json
import queue
import smtplib
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Final

import pytest

from cli.stack.paths import BOUNCE
from local.stack import Stack, StackOptions
from shared.topics import ids
from tests.support.bounce_door import CLIENT, KEYS_TEXT, all_returned, at_bounce_door, return_path
from tests.support.fork_server import fork
from tests.support.front_door import register
from tests.support.patience import PATIENCE_S
from tests.support.smtp_peers import wait_until

pytestmark = pytest.mark.long

MESSAGES: Final = 6_000
SERVERS: Final = 8
INGEST: Final = "ingest"
DOOR: Final = "SLUICE_INGEST__BOUNCE_LISTEN"
CONTENT: Final = b"Subject: Undelivered\r\n\r\n550 5.1.1 no such user\r\n"
_TIMEOUT_S: Final = 20
_PAUSE_S: Final = 0.1


class MailServers:
    """Send bounces over several sessions at once, and repeat each one until it gets its 250."""

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        self._address = host, int(port)
        self._todo: queue.SimpleQueue[int] = queue.SimpleQueue()
        for number in range(MESSAGES):
            self._todo.put(number)
        self._lock = threading.Lock()
        self.sent: Counter[str] = Counter()
        self.accepted: set[str] = set()
        self.strange: list[str] = []
        self._closing = threading.Event()
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(SERVERS)]
        for thread in self._threads:
            thread.start()

    def has_sent(self, count: int) -> bool:
        return len(self.accepted) >= count

    def close(self) -> None:
        self._closing.set()
        for thread in self._threads:
            thread.join(2 * _TIMEOUT_S)

    def _run(self) -> None:
        while not self._closing.is_set():
            try:
                with smtplib.SMTP(*self._address, timeout=_TIMEOUT_S) as smtp:
                    while not self._closing.is_set():
                        self._next(smtp)
            except (OSError, smtplib.SMTPException):
                self._closing.wait(_PAUSE_S)

    def _next(self, smtp: smtplib.SMTP) -> None:
        try:
            number = self._todo.get(timeout=_PAUSE_S)
        except queue.Empty:
            return
        mail_id = ids.encode(number)
        is_accepted = False
        try:
            smtp.sendmail("", [return_path(mail_id)], CONTENT)
            is_accepted = True
        except smtplib.SMTPResponseException as error:
            if error.smtp_code >= 500:
                self.strange.append(f"{mail_id}: {error}")
            raise
        except smtplib.SMTPRecipientsRefused as error:
            self.strange += [
                f"{mail_id}: {code} {text!r}"
                for code, text in error.recipients.values()
                if code >= 500  # 421: the door is stopping
            ]
            raise
        finally:
            with self._lock:
                self.sent[mail_id] += 1
                if is_accepted:
                    self.accepted.add(mail_id)
            if not is_accepted:
                self._todo.put(number)


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    keys_file = tmp_path / "keys"
    keys_file.write_text(KEYS_TEXT)
    env = {
        "SLUICE_RETURN_PATH__KEYS_FILE": str(keys_file),
        "SLUICE_INGEST__SMTP_SHARED_PORTS": "true",
    }
    options = StackOptions(
        name="bounce-move",
        start=fork,
        folder=tmp_path,
        restart=False,
        services=(INGEST,),
        sink=False,
        env=env,
    )
    with Stack(options) as running:
        register(running.endpoints.kafka, CLIENT)
        yield running


def start(stack: Stack, part: str, *, has_door: bool = True) -> None:
    listens = [stack.endpoints.bounce] if has_door else []
    stack.start_part(part, {DOOR: json.dumps(listens)})
    stack.wait_ready(part)


def stop(stack: Stack, part: str) -> None:
    assert stack.stop_part(part), f"{part} did not drain in time"


def replace_ingest(stack: Stack, *, has_door: bool) -> None:
    """Restart ingest, as the update of a StatefulSet does."""
    stop(stack, INGEST)
    start(stack, INGEST, has_door=has_door)


def knows_the_client(stack: Stack) -> bool:
    with at_bounce_door(stack, _TIMEOUT_S) as smtp:
        smtp.ehlo()
        smtp.mail("")
        return smtp.rcpt(return_path())[0] == 250


def test_the_bounce_door_moves_out_of_ingest_and_back_and_no_accepted_mail_is_lost(
    stack: Stack,
) -> None:
    wait_until(partial(knows_the_client, stack), "the door knows the client", PATIENCE_S)
    steps: list[Callable[[], None]] = [
        partial(start, stack, BOUNCE),
        partial(replace_ingest, stack, has_door=False),
        partial(replace_ingest, stack, has_door=True),
        partial(stop, stack, BOUNCE),
    ]
    servers = MailServers(str(stack.endpoints.bounce))
    try:
        for number, step in enumerate(steps, 1):
            count = MESSAGES * number // (len(steps) + 1)
            wait_until(partial(servers.has_sent, count), f"{count} are accepted", PATIENCE_S)
            assert not servers.has_sent(MESSAGES), "nothing is sent any more when the door moves"
            step()
        wait_until(partial(servers.has_sent, MESSAGES), "all are accepted", PATIENCE_S)
    finally:
        servers.close()
    assert not servers.strange
    there = Counter(returned.mail_id for returned, _ in all_returned(stack.endpoints.kafka))
    assert there.keys() == servers.accepted
    assert not there - servers.sent
    print(f"{servers.sent.total() - MESSAGES} were sent again, {there.total() - MESSAGES} doubled")
