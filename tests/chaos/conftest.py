"""Fixtures of the chaos tests: one stage for all of them, seeds, and the final check.

`pytest tests/chaos --seeds N` runs the randomised tests with N seeds, `--seed S` with only the
seed S. Every run prints its seed. Schedules of faults (scenes.py) have separate stages;
with `--long` their figures go to .sluice/long/chaos.json and a table at the end.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from cli.stack import paths
from tests.support.chaos.results import Results, table
from tests.support.chaos.scenario import FIXED, Kind
from tests.support.chaos.scenes import Say, Scenes
from tests.support.chaos.stage import Stage, stage_name
from tests.support.chaos.versions import last_release

# These tests need an earlier version of Sluice: --previous, or a release.
TWO_VERSIONS: Final = ("test_two_versions.py", "test_two_billing_versions.py")
# All tests of this folder share a stage. These tests may use a second stage in another process of
# the test run, because all tests on one stage would take longer than the rest of the test run.
SECOND_STAGE: Final = (
    "test_in_doubt.py",
    "test_kill_the_front_door.py",
    "test_redis_lost.py",
    "test_returned_mail.py",
)
_SEEDS_IN_THE_TEST_RUN: Final = 2
_SEEDS_IN_LONG_RUNS: Final = 20
_SEEDS_OF_RANDOM_KILLS: Final = 5
RESULTS_FILE: Final = paths.STATE / "long" / "chaos.json"
# The value is the same in all processes of one test run (pytest-xdist).
_FIRST_SEED: Final = random.Random(os.environ.get("PYTEST_XDIST_TESTRUNUID")).randrange(10**6)
# The seed is fixed, so that normal runs repeat a schedule that once sent 27 messages twice.
_SHORT_SEED: Final = 891_353
_RESULTS: Final = pytest.StashKey[Results]()


def pytest_configure(config: pytest.Config) -> None:
    is_long = config.getoption("--long")
    config.stash[_RESULTS] = Results(RESULTS_FILE if is_long else None)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Group the tests that share a pipeline, so that they run in one process (--dist loadgroup).

    Of the long tests, only those of the kinds in --kind are kept.
    """
    here = Path(__file__).parent
    kinds = config.getoption("--kind")
    has_previous = bool(config.getoption("--previous") or last_release())
    left = []
    for item in items:
        if here not in item.path.parents:
            continue
        for fixture in ("scenes", "stage"):
            if fixture in getattr(item, "fixturenames", ()):
                item.add_marker(pytest.mark.xdist_group(f"chaos-{fixture}{_number_of(item)}"))
        is_long = item.get_closest_marker("long") is not None
        lacks_version = item.path.name in TWO_VERSIONS and not has_previous
        if lacks_version or (is_long and kinds and _kind_of(item) not in kinds):
            left.append(item)
    config.hook.pytest_deselected(items=left)
    # Schedules first, while the pipeline shared by the other chaos tests does not exist yet.
    gone = set(left)
    items[:] = sorted(
        (item for item in items if item not in gone),
        key=lambda item: "scenes" not in getattr(item, "fixturenames", ()),
    )


def _number_of(item: pytest.Item) -> str:
    return "-2" if item.path.name in SECOND_STAGE else ""


def _kind_of(item: pytest.Item) -> str:
    return str(item.callspec.params.get("kind", FIXED)) if hasattr(item, "callspec") else FIXED


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """`seed` gets every seed, `one_seed` a fixed one unless --seed names another.

    `kind` and `long_seed` get every kind and seed of a long run, `kill_seed` fewer of them.
    """
    config = metafunc.config
    seeds = _seeds(config, _SEEDS_IN_THE_TEST_RUN)
    if "seed" in metafunc.fixturenames:
        metafunc.parametrize("seed", seeds, ids=_names(seeds))
    if "one_seed" in metafunc.fixturenames:
        one = config.getoption("--seed")
        metafunc.parametrize("one_seed", [_SHORT_SEED if one is None else one], ids=["seed-1"])
    if "kill_seed" in metafunc.fixturenames:
        kills = _seeds(config, _SEEDS_OF_RANDOM_KILLS)
        metafunc.parametrize("kill_seed", kills, ids=_names(kills))
    if "long_seed" in metafunc.fixturenames:
        # Seeds with one kind of membership come first, because a stage has only one kind.
        many = sorted(_seeds(config, _SEEDS_IN_LONG_RUNS), key=lambda seed: seed % 2)
        pairs = [(kind, seed) for kind in Kind for seed in many]
        metafunc.parametrize(("kind", "long_seed"), pairs, ids=[f"{k}-{s}" for k, s in pairs])


def _names(seeds: list[int]) -> list[str]:
    return [f"seed-{number}" for number, _ in enumerate(seeds, 1)]


def _seeds(config: pytest.Config, unless_named: int) -> list[int]:
    if (one := config.getoption("--seed")) is not None:
        return [one]
    number = config.getoption("--seeds")
    return [_FIRST_SEED + step for step in range(unless_named if number is None else number)]


@pytest.fixture(scope="package")
def stage(request: pytest.FixtureRequest) -> Iterator[Stage]:
    """Yield the pipeline that all chaos tests share; each run is judged again at the end."""
    stage = Stage(stage_name())
    try:
        yield stage
        for run in stage.finished_runs():
            findings = stage.judge(run)
            assert findings.clean, f"{run.name}, looked at again: {findings.explain()}"
    finally:
        stage.close(keep=request.session.testsfailed > 0)


@pytest.fixture(scope="package")
def results(request: pytest.FixtureRequest) -> Results:
    """Return the figures of all runs; with --long they are also written to a file."""
    return request.config.stash[_RESULTS]


@pytest.fixture(scope="package")
def tell(request: pytest.FixtureRequest) -> Say:
    """Return a function that reports progress."""
    return _teller(request.config)


@pytest.fixture(scope="module")
def scenes(results: Results, tell: Say) -> Iterator[Scenes]:
    """Runs schedules of faults. Its stage ends with the module: a dozen idle processes
    would slow down everything else."""
    scenes = Scenes(results, tell)
    yield scenes
    scenes.close()


def _teller(config: pytest.Config) -> Say:
    """Return a function that prints progress: at once in a long run, else after a failure."""
    capture = config.pluginmanager.getplugin("capturemanager")
    if not config.getoption("--long") or capture is None:
        return print

    def tell(text: str) -> None:
        with capture.global_and_fixture_disabled():
            print(text, flush=True)

    return tell


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    results = config.stash[_RESULTS]
    summaries = results.summaries()
    if not summaries or results.file is None:
        return
    terminalreporter.section("schedules of faults")
    for line in (*table(summaries), f"written to {results.file}"):
        terminalreporter.write_line(line)
