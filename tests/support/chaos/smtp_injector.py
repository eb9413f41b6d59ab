"""The SMTP injector: submits messages to the front door like a careful client.

Job: submit a run's messages over TLS with login, over several sessions at once, and record the
promises: 250 for an accepted message, 550 for a refused one. Everything else (451, 421, a broken
connection, no connection) is not final: the message is submitted again, unchanged, until there
is a final reply. So a message that was stored without its 250 is submitted a second time.
"""

from __future__ import annotations

import queue
import smtplib
import threading
import time
from collections.abc import Sequence
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from shared.topics.records import EventType
from tests.support.chaos.evidence import Promise
from tests.support.chaos.mixture import Submission
from tests.support.front_door import trusting

SESSIONS_PER_CLIENT: Final = 6
# Without Kafka, 451 arrives after 4 s; a restarting front door accepts no connections.
_TIMEOUT_S: Final = 15.0
_PAUSE_S: Final = 0.1


class Reply(Struct, frozen=True):
    """The code of the reply to a submission, 0 if the connection broke, and its time."""

    t: float
    code: int


class SmtpInjector:
    """Submits once started; each client logs in with its own name and `password`.

    `pause_s` is the pause of each session after a message. `sessions` is the number of sessions of
    each client at the same time.
    """

    def __init__(
        self,
        address: str,
        password: str,
        submissions: Sequence[Submission],
        pause_s: float = 0.0,
        sessions: int = SESSIONS_PER_CLIENT,
    ) -> None:
        host, _, port = address.rpartition(":")
        self._address = host, int(port)
        self._password = password
        self._count = len(submissions)
        self._pause_s = pause_s
        self._is_stopped = False
        self._replies: list[Reply] = []
        self._lock = threading.Condition()
        self._promises: list[Promise] = []
        self.retried = 0
        self.refused_logins = 0
        self._closing = threading.Event()
        self._todo: dict[str, queue.SimpleQueue[tuple[Submission, int]]] = {}
        for submission in submissions:
            client = submission.promise.client
            self._todo.setdefault(client, queue.SimpleQueue()).put((submission, 1))
        self._threads = [
            threading.Thread(target=self._run, args=(client,), daemon=True)
            for client in self._todo
            for _ in range(sessions)
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Submit no more new messages; those without a final reply are submitted until they
        have one."""
        self._is_stopped = True

    def promises(self) -> tuple[Promise, ...]:
        """Return the messages with a final reply so far."""
        with self._lock:
            return tuple(self._promises)

    def replies(self) -> tuple[Reply, ...]:
        """Return the replies to all submissions so far."""
        with self._lock:
            return tuple(self._replies)

    def wait_for(self, count: int, timeout_s: float) -> None:
        """Wait until `count` have a final reply; AssertionError after `timeout_s`."""
        with self._lock:
            there = self._lock.wait_for(lambda: len(self._promises) >= count, timeout_s)
            assert there, f"{len(self._promises)} of {count} answered after {timeout_s} s"

    def has_answered(self, count: int) -> bool:
        """Return whether `count` have a final reply."""
        with self._lock:
            return len(self._promises) >= count

    def is_done(self) -> bool:
        """Return whether all have a final reply."""
        return self.has_answered(self._count)

    def finish(self, timeout_s: float) -> tuple[Promise, ...]:
        """Wait for the last reply; return the promises."""
        try:
            self.wait_for(self._count, timeout_s)
        finally:
            self._closing.set()
            for thread in self._threads:
                thread.join(2 * _TIMEOUT_S)
        return tuple(self._promises)

    def _run(self, client: str) -> None:
        todo, context = self._todo[client], trusting()
        while not self._closing.is_set():
            try:
                with smtplib.SMTP_SSL(*self._address, timeout=_TIMEOUT_S, context=context) as smtp:
                    smtp.login(client, self._password)
                    while not self._closing.is_set():
                        self._next(smtp, todo)
            except smtplib.SMTPAuthenticationError:
                # This reply is final, because the client may never submit the message again.
                self.refused_logins += 1
                time.sleep(_PAUSE_S)
            except (OSError, smtplib.SMTPException):
                time.sleep(_PAUSE_S)

    def _next(self, smtp: smtplib.SMTP, todo: queue.SimpleQueue[tuple[Submission, int]]) -> None:
        try:
            submission, times = todo.get(timeout=_PAUSE_S)
        except queue.Empty:
            return
        if self._is_stopped and times == 1:
            with self._lock:
                self._count -= 1
            return
        code = 0
        try:
            code = _submit(smtp, submission)
        finally:
            with self._lock:
                self._replies.append(Reply(time.time(), code))
            if code not in {250, 550}:
                self.retried += 1
                todo.put((submission, times + 1))
        if code not in {250, 550}:
            time.sleep(_PAUSE_S)
            return
        expected = submission.promise.expected
        assert (code == 550) == (expected is EventType.REFUSED), (code, submission.promise)
        # Each submission of the message has its own `refused` event.
        twice = times > 1 and expected is EventType.REFUSED
        with self._lock:
            at_ms = int(time.time() * 1000)
            self._promises.append(replace(submission.promise, maybe_twice=twice, at_ms=at_ms))
            self._lock.notify_all()
        if self._pause_s:
            time.sleep(self._pause_s)


def _submit(smtp: smtplib.SMTP, submission: Submission) -> int:
    """Return the code of the first command that was not accepted, or of the end of DATA."""
    promise = submission.promise
    sender = f"news@{promise.message_id.rpartition('@')[2].rstrip('>')}"
    for code, _ in (smtp.mail(sender), smtp.rcpt(promise.rcpt)):
        if code != 250:
            return code
    code, _ = smtp.data(submission.content)
    return code
