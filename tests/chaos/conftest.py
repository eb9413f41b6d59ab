"""Fixtures of the chaos tests: one stage for all of them, seeds, and the last look.

`pytest tests/chaos --seeds N` runs the tests that roll dice with N seeds, `--seed S` with the
one seed S. Every run prints its seed.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.chaos.stage import Stage, stage_name

_SEEDS_IN_THE_TEST_RUN: Final = 5
# The same in every process of one test run, where a plugin spreads it over several.
_FIRST_SEED: Final = random.Random(os.environ.get("PYTEST_XDIST_TESTRUNUID")).randrange(10**6)


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("chaos")
    group.addoption(
        "--seeds", type=int, default=_SEEDS_IN_THE_TEST_RUN, help="Chaos: how many seeds."
    )
    group.addoption("--seed", type=int, default=None, help="Chaos: this one seed.")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """With pytest-xdist (--dist loadgroup) all of them stay in one process: one line for all."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.xdist_group("chaos"))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """`seed` takes every seed; `one_seed` only the first one."""
    seeds = _seeds(metafunc.config)
    if "seed" in metafunc.fixturenames:
        names = [f"seed-{number}" for number, _ in enumerate(seeds, 1)]
        metafunc.parametrize("seed", seeds, ids=names)
    if "one_seed" in metafunc.fixturenames:
        metafunc.parametrize("one_seed", seeds[:1], ids=["seed-1"])


def _seeds(config: pytest.Config) -> list[int]:
    # With other folders named too, this file is read after the command line: hence defaults.
    given = config.getoption("--seed", default=None)
    if given is not None:
        return [given]
    number = config.getoption("--seeds", default=_SEEDS_IN_THE_TEST_RUN)
    return [_FIRST_SEED + step for step in range(number)]


@pytest.fixture(scope="session")
def stage(request: pytest.FixtureRequest) -> Iterator[Stage]:
    """The line that all chaos tests share; each run is judged once more at the end."""
    stage = Stage(stage_name())
    try:
        yield stage
        for run in stage.finished_runs():
            findings = stage.judge(run)
            assert findings.clean, f"{run.name}, looked at again: {findings.explain()}"
    finally:
        stage.close(keep=request.session.testsfailed > 0)
