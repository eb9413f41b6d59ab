"""Which chaos tests `--long`, `--kind`, `--seeds` and `--seed` select."""

from __future__ import annotations

from collections import Counter

import pytest

from cli.stack import paths
from tests.support.chaos.scenario import Kind
from tests.support.fork_server import run_module

LONG = "test_long.py"


def collected(*options: str) -> list[str]:
    """The ids of the tests in tests/chaos that these options select."""
    command = ("pytest", "-q", "-n0", "--collect-only", str(paths.ROOT / "tests" / "chaos"))
    done = run_module(*command, "-p", "no:cacheprovider", *options, env={})
    assert done.returncode == 0, done.stdout + done.stderr
    return [line for line in done.stdout.splitlines() if "::" in line]


def kinds(ids: list[str]) -> Counter[str]:
    """The number of schedules of each kind."""
    return Counter(each.rpartition("[")[2].partition("-")[0] for each in ids if "schedule" in each)


def test_a_usual_run_has_one_short_schedule_of_each_kind_and_no_long_test() -> None:
    found = collected()
    assert not [each for each in found if LONG in each]
    short = [each for each in found if "test_schedules.py" in each]
    assert len(short) == len(Kind)
    assert all(any(kind.value in each for each in short) for kind in Kind)


def test_a_long_run_has_twenty_seeds_of_each_kind_and_the_fixed_cases_only() -> None:
    found = collected("--long")
    found = [each for each in found if LONG in each]
    assert kinds(found) == {kind.value: 20 for kind in Kind}
    assert len(found) - kinds(found).total() == 8


@pytest.mark.parametrize(
    ("options", "chosen", "fixed"),
    [
        (("--kind", "pause", "--seeds", "3"), {"pause": 3}, 0),
        (("--kind", "kill", "--kind", "rebalance", "--seed", "7"), {"kill": 1, "rebalance": 1}, 0),
        (("--kind", "fixed"), {}, 8),
    ],
)
def test_kinds_and_seeds_choose(
    options: tuple[str, ...], chosen: dict[str, int], fixed: int
) -> None:
    found = [each for each in collected("--long", *options) if LONG in each]
    assert kinds(found) == chosen
    assert len(found) - kinds(found).total() == fixed
