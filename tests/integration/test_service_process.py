"""A service as a process: its verbs, its HTTP port, its signals and its exit codes.

The service is a small one of this test; the `__main__` of each real one is built in the same way.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cli.stack.paths import base_environment
from tests.support.patience import PATIENCE_S

SERVICE = """
import uvloop
from msgspec import Struct
from shared.settings.sections import RuntimeSettings, TelemetrySettings
from shared.runtime.service_cli import run_service
from shared.runtime.telemetry import Metric

class Settings(Struct, frozen=True):
    runtime: RuntimeSettings = RuntimeSettings()
    telemetry: TelemetrySettings = TelemetrySettings()

def serve(settings, running):
    running.counters.counter(Metric("sluice_seen", "Seen.", ("lane",))).add(3, "gmail")
    running.health.add_ready("kafka", lambda: "away")
    uvloop.run(running.stop.wait_async())
    while settings.runtime.instance == "stuck":
        running.stop.wait(0.01)
    return 0

run_service("test", Settings, serve)
"""


@pytest.fixture
def program(tmp_path: Path) -> Path:
    path = tmp_path / "service.py"
    path.write_text(SERVICE)
    return path


@contextmanager
def started(program: Path, **environ: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    process = subprocess.Popen(
        [sys.executable, str(program), "serve"],
        env={**base_environment(), "SLUICE_RUNTIME__LOG_FORMAT": "json", **environ},
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    try:
        yield process, json.loads(process.stderr.readline())["health"]
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


def get(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=PATIENCE_S) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_the_door_tells_live_ready_and_metrics(program: Path) -> None:
    with started(program) as (_, door):
        assert get(f"{door}/live") == (200, '{"live": true, "checks": {}}\n')
        give_up_at = time.monotonic() + PATIENCE_S
        # The check is added shortly after the port opens; until then `/ready` reports the start.
        while "kafka" not in get(f"{door}/ready")[1]:
            assert time.monotonic() < give_up_at
        assert get(f"{door}/ready") == (503, '{"ready": false, "checks": {"kafka": "away"}}\n')
        status, text = get(f"{door}/metrics")
        assert status == 200
        assert 'sluice_seen_total{lane="gmail"} 3.0' in text
        assert "\nsluice_ready 0.0\n" in text
        assert get(f"{door}/else")[0] == 404


def test_the_door_takes_ipv6_and_ipv4_on_the_address_of_all(program: Path) -> None:
    with started(program, SLUICE_TELEMETRY__HTTP_HOST="::") as (_, door):
        assert door.startswith("http://[::]:")
        for host in ("[::1]", "127.0.0.1"):
            assert get(f"{door.replace('[::]', host)}/live")[0] == 200


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_service_in_order(program: Path, number: signal.Signals) -> None:
    with started(program) as (process, _):
        process.send_signal(number)
        process.send_signal(number)
        assert process.wait(PATIENCE_S) == 0
        assert process.stderr is not None
        said = [json.loads(line) for line in process.stderr]
        assert said[-1]["message"] == "ended"
        assert said[-1]["reason"] == number.name


def test_a_drain_that_does_not_end_is_ended(program: Path) -> None:
    stuck = {"SLUICE_RUNTIME__INSTANCE": "stuck", "SLUICE_RUNTIME__DRAIN_TIMEOUT_S": "0"}
    with started(program, **stuck) as (process, _):
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 75


def run(program: Path, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(program), *arguments],
        env={**base_environment(), **environ},
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )


def test_a_wrong_setting_stops_the_start_with_its_path_and_what_was_expected(program: Path) -> None:
    wrong = {"SLUICE_TELEMETRY__HTTP_PORT": "x", "SLUICE_RUNTIME__LOG_LEVL": "debug"}
    ended = run(program, "serve", **wrong)
    assert (ended.returncode, ended.stdout) == (2, "")
    first, second = ended.stderr.splitlines()
    assert first.startswith("sluice: settings: runtime.log_levl: ")
    assert "did you mean log_level?" in first
    assert second == (
        "sluice: settings: telemetry.http_port: found 'x', expected a whole number from 0 to 65535"
        " (environment SLUICE_TELEMETRY__HTTP_PORT)"
    )


def test_a_taken_port_stops_the_start_in_one_line(program: Path) -> None:
    with started(program) as (_, door):
        taken = run(program, "serve", SLUICE_TELEMETRY__HTTP_PORT=door.rpartition(":")[2])
        assert taken.returncode == 2
        (line,) = taken.stderr.splitlines()
        assert line.startswith("sluice: telemetry.http_port: cannot listen on 127.0.0.1:")


def test_config_shows_each_setting_and_an_unknown_verb_is_wrong_use(program: Path) -> None:
    shown = run(program, "config", "--json", SLUICE_RUNTIME__INSTANCE="one")
    rows = {row["key"]: row for row in json.loads(shown.stdout)}
    assert rows["runtime.instance"]["value"] == "one"
    assert rows["runtime.instance"]["origin"] == "environment SLUICE_RUNTIME__INSTANCE"
    assert rows["telemetry.http_port"]["origin"] == "default"
    assert (
        '= "one"  (environment SLUICE_RUNTIME__INSTANCE)'
        in run(program, "config", SLUICE_RUNTIME__INSTANCE="one").stdout
    )
    unknown = run(program, "bogus")
    assert (unknown.returncode, unknown.stdout) == (2, "")
