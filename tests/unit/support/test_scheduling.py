"""The units of a test run and their order."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.scheduling import LONGEST, WAITING, Collection, choose, rank, unit_of

TESTS = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("nodeid", "unit"),
    [
        ("tests/unit/test_a.py::test_b", "tests/unit/test_a.py"),
        ("tests/unit/test_a.py::test_b[x]", "tests/unit/test_a.py"),
        ("tests/unit/test_a.py::test_b[me@example.com]", "tests/unit/test_a.py"),
        ("tests/unit/test_a.py::test_b[x::y]", "tests/unit/test_a.py"),
        ("tests/chart/test_a.py::test_b[x]", "tests/chart/"),
        ("tests/chaos/test_a.py::test_b[me@example.com]@chaos-stage", "chaos-stage"),
        ("tests/chaos/test_a.py::test_b@chaos-stage", "chaos-stage"),
    ],
)
def test_the_unit_of_a_test_is_its_group_or_else_its_module_or_folder(
    nodeid: str, unit: str
) -> None:
    assert unit_of(nodeid) == unit


def test_what_waits_longest_comes_first_and_what_is_short_last() -> None:
    ids = [
        "tests/unit/test_a.py::test_b",
        "tests/integration/test_a.py::test_b",
        "tests/chaos/test_a.py::test_b",
        "tests/integration/test_handover.py::test_b",
        "tests/chart/test_a.py::test_b",
        "tests/chaos/test_orders.py::test_b@chaos-stage",
    ]
    ranks = [rank(unit_of(nodeid), nodeid) for nodeid in ids]
    assert ranks == sorted(set(ranks), reverse=True)


HEAVY = ("chaos-stage", "tests/integration/test_a.py", "tests/unit/test_a.py")
LEFT = {unit: f"{unit}::test" for unit in (*WAITING[:2], *HEAVY)}


@pytest.mark.parametrize(
    ("others", "left", "chosen"),
    [
        ([["chaos-stage-2"], ["shared-line"]], LEFT, WAITING[0]),
        ([["chaos-stage-2"], []], LEFT, WAITING[0]),
        ([["chaos-stage-2"], [WAITING[2]]], LEFT, "chaos-stage"),
        ([["chaos-stage-2"], ["x", WAITING[2]], []], LEFT, "chaos-stage"),
        ([["chaos-stage-2"]], LEFT, "chaos-stage"),
        ([], LEFT, "chaos-stage"),
        ([["chaos-stage-2"], ["shared-line"]], dict.fromkeys(HEAVY, "t"), "chaos-stage"),
        ([["chaos-stage-2"], [WAITING[2]]], dict.fromkeys(WAITING[:2], "t"), WAITING[0]),
    ],
    ids=[
        "none waits",
        "none waits and one has nothing",
        "one waits",
        "one has a waiting one next",
        "two processes",
        "one process",
        "nothing that waits is left",
        "only what waits is left",
    ],
)
def test_one_process_at_a_time_takes_what_waits_and_no_process_is_left_without_work(
    others: list[list[str]], left: dict[str, str], chosen: str
) -> None:
    assert choose(left, others) == chosen


def test_nothing_is_both_among_the_longest_and_among_what_waits() -> None:
    assert not {*LONGEST} & {*WAITING}


def test_the_place_of_a_test_is_found_as_in_a_list() -> None:
    nodeids = [f"tests/test_a.py::test_b[{number}]" for number in range(50)]
    found = Collection(nodeids)
    assert found == nodeids
    assert [found.index(nodeid) for nodeid in nodeids] == list(range(50))


@pytest.mark.parametrize("unit", [*LONGEST, *WAITING])
def test_each_named_unit_exists(unit: str) -> None:
    if "/" in unit:
        assert (TESTS.parent / unit).exists()
        return
    files = [*TESTS.glob("integration/**/*.py"), *TESTS.glob("chaos/*.py")]
    # tests/chaos/conftest.py names groups by their fixture.
    name = unit.removeprefix("chaos-").removesuffix("-2")
    assert any(f'"{name}"' in path.read_text(encoding="utf-8") for path in files)
