"""The units of a test run and their order."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.scheduling import LONGEST, rank, unit_of

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
        "tests/chart/test_a.py::test_b",
        "tests/integration/test_handover.py::test_b",
        "tests/chaos/test_orders.py::test_b@chaos-stage",
    ]
    ranks = [rank(unit_of(nodeid), nodeid) for nodeid in ids]
    assert ranks == sorted(set(ranks), reverse=True)


@pytest.mark.parametrize("unit", LONGEST)
def test_each_named_unit_exists(unit: str) -> None:
    if "/" in unit:
        assert (TESTS.parent / unit).exists()
        return
    files = [*TESTS.glob("integration/**/*.py"), *TESTS.glob("chaos/*.py")]
    # tests/chaos/conftest.py names groups by their fixture.
    name = unit.removeprefix("chaos-").removesuffix("-2")
    assert any(f'"{name}"' in path.read_text(encoding="utf-8") for path in files)
