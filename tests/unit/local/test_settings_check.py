"""Wrong settings end `./sluice up` before it has started anything."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner

import local.up
from cli.stack import paths
from cli.stack.paths import APART, PROCESSES
from local.outside import find_outside
from local.settings import check_settings
from local.stack import Stack, StackOptions
from shared.settings.loader import SettingsError


def stack(folder: Path, environ: dict[str, str], *more: str) -> Stack:
    services = (*PROCESSES, *APART, *more)
    return Stack(StackOptions(folder=folder, outside=find_outside(environ), services=services))


def test_the_settings_that_a_pipeline_chooses_have_no_faults(tmp_path: Path) -> None:
    stack(tmp_path, {}, "deliver-2", "validate-2", "ingest-2", "billing-2").check_settings()


def test_all_faults_of_all_services_are_reported_each_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = {
        "SLUICE_DELIVER__MAX_IN_FLIGHT": "many",
        "SLUICE_DELIVER__MAX_IN_FLIHGT": "1",
        "SLUICE_BILLING__TIME_ZONE": "Mars/Olympus",
        "SLUICE_RUNTIME__LOG_LEVEL": "loud",  # read by all
    }
    for name, value in wrong.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as found:
        stack(tmp_path, wrong).check_settings()
    assert [fault.path for fault in found.value.faults] == [
        "billing.time_zone",
        "deliver.max_in_flight",
        "deliver.max_in_flihgt",
        "runtime.log_level",
    ]


def test_each_process_is_checked_with_its_own_environment() -> None:
    given = {"SLUICE_DELIVER__MAX_IN_FLIGHT": "many"}
    check_settings([("services.ingest", given), ("services.deliver", {})])
    with pytest.raises(SettingsError, match=r"deliver\.max_in_flight: found 'many'"):
        check_settings([("services.ingest", {}), ("services.deliver", given)])


@pytest.mark.parametrize("detach", [[], ["--detach"]])
def test_up_names_the_fault_and_starts_no_process(
    detach: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paths, "run_folder", lambda name: tmp_path / name)
    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: pytest.fail("a process was started"))
    monkeypatch.setenv("SLUICE_DELIVER__MAX_IN_FLIGHT", "many")
    found = CliRunner().invoke(local.up.main, ["--state", "wrong", "--json", *detach])
    assert found.exit_code == 2
    error = json.loads(found.stdout)["error"]
    assert error.startswith("deliver.max_in_flight: found 'many', expected a whole number")
    assert "environment SLUICE_DELIVER__MAX_IN_FLIGHT" in error
