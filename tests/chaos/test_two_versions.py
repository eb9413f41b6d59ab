"""An upgrade under load and back again: two versions of every service run side by side.

A long run: `./sluice test --long -k two_versions --previous REVISION`. Without the option the last
release is the earlier version; as long as there is none, the test is deselected. The processes are
replaced one by one under their names, as a StatefulSet does. During this time, the second process
of each service keeps its version, so both versions read the same topics and share the groups.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from cli.stack.paths import SERVICES
from tests.support.chaos.cluster_load import ClusterLoad
from tests.support.chaos.fleet import ENV, Fleet
from tests.support.chaos.results import Result, Results, with_counts
from tests.support.chaos.scenes import Say
from tests.support.chaos.stage import Stage, stage_name
from tests.support.chaos.versions import last_release, unpack

pytestmark = [pytest.mark.long, pytest.mark.timeout(1_800)]

WARM_UP_S = 5.0
BETWEEN_S = 10.0


def test_two_versions_side_by_side_lose_nothing_and_double_nothing(
    request: pytest.FixtureRequest, tmp_path: Path, results: Results, tell: Say, one_seed: int
) -> None:
    earlier = unpack(request.config.getoption("--previous") or last_release(), tmp_path)
    stage = Stage(f"{stage_name()}-versions", ENV)
    try:
        fleet = Fleet(stage)
        for service in SERVICES:
            fleet.roll(service, earlier)
        load = ClusterLoad(stage, fleet, "versions", one_seed)
        load.wait_arrived(WARM_UP_S)
        fleet.grow(SERVICES, 2)
        load.wait_arrived(BETWEEN_S)
        tell("the second process of each service is new")
        for env, version in ((None, "new"), (earlier, "old")):
            for service in SERVICES:
                fleet.roll(service, env)
                load.wait_arrived(WARM_UP_S)
            load.wait_arrived(BETWEEN_S)
            tell(f"every process is {version}")
        for run, findings in zip(load.runs, load.judge(), strict=True):
            about = Result("versions", run.name, one_seed, True, 0.0)
            results.add(with_counts(about, findings, run.copies_bound))
            tell(f"{run.name}: {findings.counts}")
    finally:
        stage.close(keep=request.session.testsfailed > 0)
