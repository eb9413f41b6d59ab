"""Clock, deadline, stop, exit codes, log lines, counters, health verdicts."""

from __future__ import annotations

import asyncio
import io
import json
import logging
from collections.abc import Callable

import pytest

from shared.runtime.clock import Deadline, FakeClock, SystemClock
from shared.runtime.errors import PartUnavailable, UsageError
from shared.runtime.failpoints import Failpoints
from shared.runtime.health import judge
from shared.runtime.lifecycle import Stop, run_main
from shared.runtime.log import QUIET_S, JsonFormatter, Sparing, TextFormatter
from shared.runtime.telemetry import MAX_LABEL_SETS, Counters, Metric
from shared.settings.loader import Fault, SettingsError
from tests.support.patience import PATIENCE_S


def test_a_deadline_is_shared_by_the_waits_it_is_handed_to() -> None:
    clock = FakeClock()
    deadline = Deadline(10, clock)
    assert (deadline.left_s(), deadline.at_most(3), deadline.is_over()) == (10, 3, False)
    clock.go_on(8)
    assert (deadline.left_s(), deadline.at_most(3)) == (2, 2)
    clock.go_on(5)
    assert (deadline.left_s(), deadline.at_most(3), deadline.is_over()) == (0, 0, True)


def test_the_fake_clock_goes_on_by_what_it_is_told() -> None:
    clock = FakeClock(now_ms=1000)
    clock.go_on(1.5)
    assert (clock.now_ms(), clock.monotonic()) == (2500, 1.5)


def test_the_system_clock_does_not_go_back() -> None:
    clock = SystemClock()
    assert clock.monotonic() <= clock.monotonic()
    assert clock.now_ms() > 1_600_000_000_000


def test_a_stop_calls_back_once_and_late_callers_at_once() -> None:
    stop, called = Stop(), list[str]()
    stop.call(lambda: called.append("early"))
    assert not stop.wait(0)
    stop.set("SIGTERM")
    stop.set("SIGINT")
    stop.call(lambda: called.append("late"))
    assert called == ["early", "late"]
    assert stop.is_set()
    assert stop.wait(0)
    assert stop.reason == "SIGTERM"


def test_a_stop_wakes_a_loop() -> None:
    async def main() -> None:
        stop = Stop()
        asyncio.get_running_loop().call_soon(stop.set)
        await stop.wait_async()

    asyncio.run(asyncio.wait_for(main(), PATIENCE_S))


def _raise(error: BaseException) -> Callable[[], int]:
    def main() -> int:
        raise error

    return main


@pytest.mark.parametrize(
    ("main", "code", "lines"),
    [
        (lambda: 0, 0, []),
        (lambda: 1, 1, []),
        (
            _raise(SettingsError([Fault("b.x", "1", "2", "default"), Fault("a", "3", "4", "o")])),
            2,
            [
                "sluice: settings: a: found 3, expected 4 (o)",
                "sluice: settings: b.x: found 1, expected 2 (default)",
            ],
        ),
        (_raise(UsageError("no such folder")), 2, ["sluice: no such folder"]),
        (
            lambda: len(str(Failpoints.parse("a:1"))),
            2,
            ["sluice: SLUICE_FAILPOINT: no failpoint is named 'a'"],
        ),
        (
            _raise(PartUnavailable("Kafka", "h:1")),
            3,
            ["sluice: Kafka at h:1 is unavailable: no answer"],
        ),
        (_raise(KeyboardInterrupt()), 130, []),
    ],
)
def test_faults_become_one_line_each_and_an_exit_code(
    main: Callable[[], int], code: int, lines: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_main(main) == code
    captured = capsys.readouterr()
    assert captured.err.splitlines() == lines
    assert captured.out == ""


def test_a_fault_of_ours_is_not_hidden() -> None:
    with pytest.raises(ZeroDivisionError):
        run_main(_raise(ZeroDivisionError()))


def _logged(formatter: logging.Formatter, message: str, **extra: object) -> str:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(formatter)
    logger = logging.Logger("shared.test")
    logger.addHandler(handler)
    logger.info(message, extra=extra)
    return stream.getvalue()


def test_a_text_log_line_stays_one_line_whatever_it_is_told() -> None:
    line = _logged(TextFormatter("deliver"), "two\r\nlines", lane="gmail", said='a "b"\nc', n=3)
    assert line.count("\n") == 1
    assert " info deliver two\\r\\nlines lane=gmail " in line
    assert r'said="a \"b\"\nc" n=3 logger=shared.test' in line


def test_a_json_log_line_holds_its_fields_under_their_names() -> None:
    line = _logged(JsonFormatter("deliver"), "settled", count=3, lane="gmail")
    fields = json.loads(line)
    assert fields.pop("time").endswith("Z")
    assert fields == {
        "level": "info",
        "service": "deliver",
        "message": "settled",
        "count": 3,
        "lane": "gmail",
        "logger": "shared.test",
    }


def test_a_talkative_library_is_heard_once_in_a_while_and_ours_always() -> None:
    clock = FakeClock()
    sparing = Sparing(clock)

    def passes(name: str, line: int) -> bool:
        return sparing.filter(logging.LogRecord(name, 40, "net.py", line, "lost", (), None))

    assert [passes("kafka.net", 1), passes("kafka.net", 1), passes("kafka.net", 2)] == [
        True,
        False,
        True,
    ]
    assert passes("shared.stream", 1)
    assert passes("shared.stream", 1)
    clock.go_on(QUIET_S)
    assert passes("kafka.net", 1)


@pytest.fixture
def counters() -> Counters:
    return Counters("test", "one")


def test_counters_and_gauges_come_out_in_prometheus_text(counters: Counters) -> None:
    settled = counters.counter(Metric("sluice_settled", "Messages settled.", ("lane", "outcome")))
    settled.add(2, "gmail", "delivered")
    settled.add(1, "gmail", "delivered")
    counters.counter(Metric("sluice_untouched", "Nothing yet."))
    counters.gauge(Metric("sluice_lag", "Messages behind.")).set(7)
    counters.watch(Metric("sluice_open", "Connections open."), lambda: 4)
    lines = counters.text().decode().splitlines()
    assert "# HELP sluice_settled_total Messages settled." in lines
    assert "# TYPE sluice_settled_total counter" in lines
    assert 'sluice_settled_total{lane="gmail",outcome="delivered"} 3.0' in lines
    assert "sluice_untouched_total 0.0" in lines
    assert "sluice_lag 7.0" in lines
    assert "sluice_open 4.0" in lines
    assert settled.get("gmail", "delivered") == 3


def test_label_sets_are_bounded(counters: Counters) -> None:
    seen = counters.counter(Metric("sluice_seen", "Seen.", ("site",)))
    level = counters.gauge(Metric("sluice_level", "Level.", ("site",)))
    for number in range(MAX_LABEL_SETS + 50):
        seen.add(1, f"site-{number}")
        level.set(1, f"site-{number}")
    assert seen.get("other") == 50
    assert len(seen.values) == len(level.values) == MAX_LABEL_SETS + 1


def test_a_check_is_well_when_it_names_no_reason() -> None:
    assert judge({}) == (True, {})
    assert judge({"kafka": lambda: ""}) == (True, {"kafka": "ok"})
    assert judge({"kafka": lambda: "away", "redis": lambda: ""}) == (
        False,
        {"kafka": "away", "redis": "ok"},
    )


def test_a_check_that_fails_to_answer_is_not_well() -> None:
    def check() -> str:
        raise ZeroDivisionError("oops")

    assert judge({"kafka": check}) == (False, {"kafka": "ZeroDivisionError: oops"})
