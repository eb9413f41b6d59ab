"""When a backlog counts as harmless, and the sizes of its messages."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner
from msgspec.structs import replace

from bench import backlog
from bench.__main__ import main
from bench.backlog_result import (
    MOST_DELIVER_MB,
    MOST_GROWTH_MB,
    MOST_OTHERS_S,
    Memory,
    Result,
    fullest,
    memory_of,
    quarters,
)
from bench.publisher import Plan, make_bodies, make_head
from shared.runtime.errors import Exit

FLAT = Memory((100.0, 120.0), (120.0, 120.0))
GOOD = Result(
    messages=100,
    rate_per_s=10,
    others=10,
    others_s=MOST_OTHERS_S,
    taken_s=1.0,
    stood_s=1.0,
    delivered=20,
    fullest_10_s=100,
    bodies_written={1: 10, 2: 90},
    deferred_again={},
    memory={"ingest": FLAT, "deliver": FLAT},
)


def test_a_run_in_which_all_requirements_hold_has_no_faults() -> None:
    assert GOOD.faults() == []


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (replace(GOOD, others_s=MOST_OTHERS_S + 0.1), "took 5.1 s"),
        (replace(GOOD, bodies_written={2: 98, 3: 1, 4: 1}), "2 bodies were written more than 2"),
        (
            replace(GOOD, memory={"ingest": Memory((90.0,), (90.0, 91.0 + MOST_GROWTH_MB))}),
            "ingest grew by 33 MB",
        ),
        (
            replace(GOOD, memory={"deliver": Memory((MOST_DELIVER_MB + 1,), (90.0,))}),
            "deliver took 513 MB",
        ),
    ],
)
def test_each_requirement_that_does_not_hold_is_named(bad: Result, said: str) -> None:
    assert [said in fault for fault in bad.faults()] == [True]


@pytest.mark.parametrize(
    ("values", "peaks"),
    [
        ([], ()),
        ([3.0], (3.0,)),
        ([1.0, 2.0, 3.0, 4.0, 5.0, 1.0, 2.0, 9.0], (2.0, 4.0, 5.0, 9.0)),
    ],
)
def test_memory_is_shown_by_the_peak_of_each_quarter(
    values: list[float], peaks: tuple[float, ...]
) -> None:
    assert quarters(values) == peaks


def test_memory_may_grow_while_the_first_mail_comes_back_and_not_later() -> None:
    assert Memory((90.0,), (90.0, 190.0, 190.0, 185.0)).growth == 0.0
    assert Memory((90.0,), (90.0, 190.0, 190.0, 195.0)).growth == 5.0


def test_a_service_that_was_restarted_has_the_looks_in_which_it_ran() -> None:
    looks = [{"a": 1.0}, {"a": 2.0, "b": 7.0}, {"b": 8.0}]
    assert memory_of(looks, 2) == {"a": Memory((1.0, 2.0), ()), "b": Memory((7.0,), (8.0,))}


def test_the_fullest_window_is_found() -> None:
    assert fullest([(0.0, 0), (4.0, 10), (12.0, 90), (20.0, 95)], 10.0) == 80


def test_sizes_are_spread_between_the_least_and_the_largest() -> None:
    plan = Plan("", "", "news.bench.example", "r.example", 1, 10_240, least_bytes=600)
    sizes = [len(make_head(plan, 1)) + len(body) for body in make_bodies(plan)]
    assert sizes == sorted(sizes)
    assert sizes[0] <= 600 < sizes[-1] <= 10_240


@pytest.mark.parametrize(
    ("result", "code", "said"),
    [(GOOD, Exit.OK, ""), (replace(GOOD, others_s=9.0), Exit.CHECK_FAILED, "took 9.0 s")],
)
def test_the_command_prints_one_json_document_and_says_what_does_not_hold(
    result: Result, code: int, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backlog, "measure", lambda load: replace(result, messages=load.messages))
    answer = CliRunner().invoke(main, ["backlog", "--messages", "200"])
    assert (answer.exit_code, json.loads(answer.stdout)["messages"]) == (code, 200)
    assert said in answer.stderr
