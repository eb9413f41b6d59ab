"""A thread that survives every fault of its task, reports each, and ends when it is closed."""

from __future__ import annotations

import threading

import pytest

from shared.runtime import threads
from shared.runtime.threads import SEE_THE_LOG, EnduringThread, RunsThread


class Work:
    """A task that raises these faults, one per run, and then works until it is closed."""

    def __init__(self, *faults: Exception) -> None:
        self._faults = list(faults)
        self.told: list[str] = []
        self.works, self.has_ended = threading.Event(), threading.Event()
        self.thread = EnduringThread(
            "work",
            self.run,
            expected=(OSError,),
            failed=self.told.append,
            ended=self.has_ended.set,
        )

    def run(self) -> None:
        if self._faults:
            raise self._faults.pop(0)
        self.works.set()
        while not self.thread.is_closing:
            threading.Event().wait(0.01)


def test_the_task_begins_again_after_every_fault(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(threads, "RETRY_S", 0.0)
    work = Work(OSError("no broker"), TypeError("a fault of ours"))
    work.thread.start()
    assert work.works.wait(60)
    assert work.told == ["no broker", SEE_THE_LOG]
    assert "work failed; it is tried again" in caplog.text
    assert not work.has_ended.is_set()
    work.thread.close()
    assert work.has_ended.is_set()


def test_a_thread_that_was_not_started_may_be_closed() -> None:
    Work().thread.close()


def test_a_class_that_runs_in_a_thread_is_started_and_closed_with_it() -> None:
    class Runs(RunsThread):
        def __init__(self, thread: EnduringThread) -> None:
            self._thread = thread

    work = Work()
    runs = Runs(work.thread)
    runs.start()
    assert work.works.wait(60)
    runs.close()
    assert work.has_ended.is_set()
