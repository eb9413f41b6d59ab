"""A limit over three processes, of which one is paused and one killed, and a restart of Redis."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from local.parts import ports
from local.parts.redis_server import RedisPlan, prepare
from local.process import Process
from tests.support.limited_process import read_times, running
from tests.support.limited_workers import excess, most_excess, most_within
from tests.support.patience import PATIENCE_S

RATE = 200
WINDOW_S = 10.0
# 2 % of any 10 s.
MOST = RATE * WINDOW_S * 1.02
# The leases of a paused process end while it is paused.
PAUSED_MESSAGES = RATE * 5


def until(is_so: Callable[[], bool], what: str) -> None:
    ends_at = time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < ends_at, what
        time.sleep(0.05)


@contextmanager
def redis_at(plan: RedisPlan) -> Iterator[None]:
    spec = prepare(plan)
    process = Process(spec, plan.folder / "redis.log")
    try:
        until(spec.is_ready, "Redis did not start")
        yield
    finally:
        process.end(spec.stop_timeout_s)


@pytest.mark.long
def test_three_processes_keep_within_2_percent_of_any_10_s_whatever_happens_to_them(
    tmp_path: Path,
) -> None:
    plan = RedisPlan(tmp_path / "redis", ports.free_ports(1)[0])
    files = [tmp_path / f"w{number}" for number in range(3)]

    def sent() -> list[float]:
        return [at for path in files for at in read_times(path)]

    def until_more(count: int, what: str) -> None:
        goal = len(sent()) + count
        until(lambda: len(sent()) >= goal, what)

    with ExitStack() as stack:
        first = stack.enter_context(ExitStack())
        first.enter_context(redis_at(plan))
        limits = f"messages = '{RATE}/s'"
        made = [stack.enter_context(running(plan.url, "{limits}", limits, path)) for path in files]
        until(lambda: all(map(read_times, files)), "a worker sends nothing")
        until_more(RATE * 12, "three workers")
        os.kill(made[0].pid, signal.SIGSTOP)
        until_more(PAUSED_MESSAGES, "one worker is paused")
        os.kill(made[0].pid, signal.SIGCONT)
        until_more(RATE * 8, "the paused worker goes on")
        made[1].kill()
        until_more(RATE * 8, "one worker was killed")
        first.close()
        until_more(RATE * 3, "without Redis")
        stack.enter_context(redis_at(plan))
        until_more(RATE * 12, "Redis is back, and empty")
        count = len(read_times(files[0]))
        until(lambda: len(read_times(files[0])) > count, "the paused worker stopped sending")
    times = sent()
    most, beyond = most_within(times, WINDOW_S), excess(times, RATE)
    print(f"\nmost in {WINDOW_S:g} s: {most} of {RATE * WINDOW_S:g}, {len(times)} in all")
    print(f"most beyond the limit in any window: {beyond:g}")
    assert most <= MOST
    assert beyond <= most_excess(RATE)
