"""`up`, `status` and `down` as users run them: endpoints, exit codes, no leftovers."""

from __future__ import annotations

import json
import os
import signal
import socket
from typing import Any

import pytest

from cli.stack import paths, state
from cli.stack.paths import APART, API, PROCESSES
from local.parts.ports import LOOPBACK, free_ports, reserve
from tests.support.line_shell import Shell, UpLine, accepts, wait_for

DOORS = {
    "kafka_copies",
    *("kafka", "redis", "smtp", "smtps", "bounce", "billing", "api", "metrics", "sink"),
    "ca_file",
}

METRICS_OF_INGEST = 101  # above the base port


@pytest.mark.xdist_group("up-line")
def test_a_dead_service_is_seen_and_comes_back(up_line: UpLine) -> None:
    shell = up_line.shell
    found = state.running(shell.name)
    assert found is not None
    killed = found.parts["ingest"]
    os.kill(killed, signal.SIGKILL)

    def is_back() -> bool:
        now = state.running(shell.name)
        assert now is not None
        return now.parts.get("ingest", killed) != killed

    wait_for(is_back, "another ingest")
    wait_for(lambda: shell.run("local.status", "--state", shell.name)[0] == 0, "all ready again")


@pytest.mark.xdist_group("up-line")
def test_up_prints_its_doors_and_status_finds_them(up_line: UpLine) -> None:
    shell, running = up_line.shell, up_line.endpoints
    assert running.keys() == DOORS
    assert set(running["metrics"]) == set(PROCESSES)
    assert running["redis"].startswith("redis://")
    assert running["billing"].startswith("http://")
    assert running["api"].startswith("http://")
    assert accepts(running["kafka"])
    assert accepts(running["sink"])
    assert accepts(running["bounce"])
    for door in ("kafka", "bounce"):
        port = int(running[door].rpartition(":")[2])
        assert not reserve(port), "nobody else draws it while the part is restarted"

    def status_of() -> dict[str, Any]:
        found: dict[str, Any] = json.loads(
            shell.run("local.status", "--json", "--state", shell.name)[1]
        )
        return found

    # A service that is held up for a moment says that it is not ready.
    wait_for(lambda: all(status_of()["ready"].values()), "all are ready")
    code, out, _ = shell.run("local.status", "--json", "--state", shell.name)
    status = json.loads(out)
    assert code == 0
    assert status["running"]
    assert {name: status[name] for name in DOORS} == running
    assert status["ready"] == dict.fromkeys(["kafka", "redis", "sink", *PROCESSES], True)

    code, out, err = shell.run("local.up", "--json", "--state", shell.name)
    assert code == 2
    assert "is already running" in json.loads(out)["error"]
    assert "is already running" in err

    # The environment of the processes, not of this shell.
    code, out, _ = shell.run("cli.config.command", "show", "--json", "--state", shell.name)
    rows = {(row["key"], *row["services"]): row for row in json.loads(out)}
    assert rows["kafka.bootstrap", *PROCESSES]["value"] == running["kafka"]
    (port,) = [
        row["value"]
        for row in rows.values()
        if row["key"] == "api.http_port" and API in row["services"]
    ]
    assert running["api"].endswith(f":{port}")
    assert rows["deliver.routes", "deliver"]["value"] == {"*": running["sink"]}
    assert rows["deliver.routes", "deliver"]["origin"] == "environment SLUICE_DELIVER__ROUTES"


@pytest.mark.xdist_group("up-line")
def test_down_leaves_no_process(up_line: UpLine) -> None:
    shell = up_line.shell
    code, out, _ = shell.run("local.down", "--json", "--forget", "--state", shell.name)
    assert code == 0
    ended = {"state": shell.name, "stopped": True, "drained": True, "removed": True}
    assert json.loads(out) == ended
    shell.assert_nothing_left()
    assert not paths.run_folder(shell.name).exists()

    code, out, _ = shell.run("local.status", "--json", "--state", shell.name)
    assert code == 3
    assert json.loads(out)["running"] is False
    sentence = f"sluice: the pipeline {shell.name!r} is not running; start it with: ./sluice up"
    for command in (
        ["cli.audit.command"],
        ["cli.clients.command", "list"],
        ["cli.topics.command", "plan"],
        ["cli.config.command", "show"],
        ["services.billing", "usage"],
    ):
        code, _, err = shell.run(*command, "--state", shell.name)
        assert (code, err.strip()) == (3, f"{sentence} --state {shell.name}"), command


def test_a_port_that_the_services_cannot_share_is_wrong_use(shell: Shell) -> None:
    shell.env["SLUICE_TELEMETRY__HTTP_PORT"] = "9000"
    code, out, _ = shell.run("local.up", "--json", "--state", shell.name)
    assert code == 2
    assert "SLUICE_TELEMETRY__HTTP_PORT" in json.loads(out)["error"]
    shell.assert_nothing_left()


def test_kill_9_of_the_keeper_leaves_no_process_also_of_parts_that_run_apart(
    shell: Shell, running_apart: dict[str, Any]
) -> None:
    found = state.running(shell.name)
    assert found is not None
    assert set(found.parts) == {"kafka", "redis", "sink", *PROCESSES, *APART}
    assert set(running_apart["metrics"]) == {*PROCESSES, *APART}
    assert accepts(running_apart["bounce"])
    assert accepts(running_apart["smtp"])
    os.kill(found.pid, signal.SIGKILL)
    shell.assert_nothing_left()


def test_a_kafka_that_is_not_there_is_named_and_nothing_is_left(shell: Shell) -> None:
    arguments = ("--json", "--kafka", "127.0.0.1:1", "--state", shell.name)
    code, out, err = shell.run("local.up", *arguments)
    assert code == 3
    assert json.loads(out) == {"error": "no Kafka broker answers at 127.0.0.1:1"}
    assert "127.0.0.1:1" in err
    shell.assert_nothing_left()


def test_a_fixed_port_in_use_is_named_also_that_of_metrics(shell: Shell) -> None:
    (taken,) = free_ports(1)
    base = str(taken - METRICS_OF_INGEST)
    with socket.create_server((LOOPBACK, taken)):
        arguments = ("--json", "--base-port", base, "--state", shell.name)
        code, out, err = shell.run("local.up", *arguments)
    assert code == 3
    # Another test may use one of the other ports, which are checked first.
    assert "is used by another program: stop it" in json.loads(out)["error"]
    assert "Traceback" not in err
    shell.assert_nothing_left()


def test_ending_what_does_not_run_is_well(shell: Shell) -> None:
    code, out, _ = shell.run("local.down", "--json", "--state", shell.name)
    assert code == 0
    assert json.loads(out)["stopped"] is False


@pytest.mark.parametrize("command", ["up", "status", "down"])
def test_a_state_that_is_no_folder_name_is_wrong_use(shell: Shell, command: str) -> None:
    code, out, _ = shell.run(f"local.{command}", "--json", "--state", "../elsewhere")
    assert code == 2
    assert "cannot be the name" in json.loads(out)["error"]
