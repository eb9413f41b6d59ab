"""The settings of all services in one list."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping

import msgspec
import pytest

from cli.config import command
from cli.config.command import in_lines_of, merge
from cli.stack import state
from shared.settings.describe import Row


def row(key: str, value: object, origin: str = "default") -> Row:
    return Row(key, value, origin, None, "", "", "")


def test_what_services_read_differently_stands_together_and_names_them() -> None:
    port, level = row("telemetry.http_port", 0), row("runtime.log_level", "info")
    merged = merge(
        {
            "ingest": [
                row("runtime.instance", "a", "file x"),
                row("runtime.log_level", "info"),
                port,
            ],
            "deliver": [row("runtime.instance", "b"), level, port],
            "billing": [row("runtime.instance", "b"), level],
        }
    )
    assert in_lines_of(merged) == [
        'runtime.instance    = "a"  (file x; ingest)',
        'runtime.instance    = "b"  (default; deliver, billing)',
        'runtime.log_level   = "info"  (default)',
        "telemetry.http_port = 0  (default)",
    ]


def test_a_process_apart_is_asked_for_the_settings_of_its_service(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """`config show --state` of a pipeline whose API has a port, which validate has not."""

    def run(command: list[str], environ: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
        assert command[2:] == ["services.validate", "config", "--json"]
        rows = [row("api.http_port", int(environ["PORT"]))]
        return subprocess.CompletedProcess(command, 0, msgspec.json.encode(rows).decode(), "")

    monkeypatch.setattr(command, "_run", run)
    found = command.ask_services({"validate": {"PORT": "0"}, "api": {"PORT": "8085"}})
    assert in_lines_of(found) == [
        "api.http_port = 0  (default; validate)",
        "api.http_port = 8085  (default; api)",
    ]


def test_the_processes_of_a_pipeline_are_its_services_and_what_runs_beside_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pid = os.getpid()
    names = ("kafka", "ingest", "validate", "deliver", "deliver-2", "billing", "api", "front")
    mine = state.State("x", pid, state.start_of(pid), "ready", parts=dict.fromkeys(names, pid))
    monkeypatch.setattr(state, "running", lambda _: mine)
    found = state.environment_of("x")
    assert [*found] == ["ingest", "validate", "deliver", "billing", "api", "front"]
