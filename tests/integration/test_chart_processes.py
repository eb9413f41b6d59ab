"""The containers of the chart, run as processes with their variables and arguments."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from cli.stack.paths import base_environment
from local.parts.ports import free_ports
from local.stack import Stack, StackOptions
from tests.support.certificates import self_signed
from tests.support.chart.rendering import Resource, render
from tests.support.chart.resources import by_component, environment
from tools.chart import CHART

WITHIN_S = "240"
DOOR = {"enabled": True, "hostName": "in.example.com", "certificateSecret": "tls"}
APART = ("front", "bounce", "responses")
DRAIN_S = 120


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("chart")
    with Stack(
        StackOptions(name="chart", folder=folder, services=(), sink=False, is_lasting=False)
    ) as found:
        yield found


def rendered(stack: Stack) -> list[Resource]:
    redis = urlsplit(stack.endpoints.redis)
    return render(
        {
            "kafka": {
                "bootstrap": stack.endpoints.kafka,
                "replication": 1,
                "minInSyncReplicas": 1,
                "allowLowReplication": True,
                "partitions": 4,
            },
            "redis": {"host": redis.hostname, "port": redis.port},
            "settings": {"deliver": {"routes": {"*": "127.0.0.1:1"}}},
            "frontDoor": DOOR,
            "bounceDoor": DOOR,
            "components": {name: {"enabled": True, "replicas": 1} for name in APART},
        }
    )


def own_addresses(folder: Path) -> dict[str, str]:
    """Free ports and a certificate in place of those of a pod."""
    certificate, key = map(str, self_signed(folder))
    ports = [f'["127.0.0.1:{port}"]' for port in free_ports(3)]
    return {
        "SLUICE_INGEST__SMTP_LISTEN": ports[0],
        "SLUICE_INGEST__SMTPS_LISTEN": ports[1],
        "SLUICE_INGEST__BOUNCE_LISTEN": ports[2],
        "SLUICE_INGEST__TLS_CERTIFICATE_FILE": certificate,
        "SLUICE_INGEST__TLS_KEY_FILE": key,
        "SLUICE_INGEST__BOUNCE_TLS_CERTIFICATE_FILE": certificate,
        "SLUICE_INGEST__BOUNCE_TLS_KEY_FILE": key,
    }


def process_of(workload: Resource, **changes: str) -> tuple[list[str], dict[str, str]]:
    """The command line and the variables of the container of a workload."""
    (container,) = workload["spec"]["template"]["spec"]["containers"]
    variables = environment(container, f"{workload['metadata']['name']}-0")
    line = [sys.executable, "-m", *container["args"]]
    return line, {**base_environment(), **variables, **changes}


@contextmanager
def running(line: list[str], environ: dict[str, str], log: Path) -> Iterator[None]:
    """Run a process; it must end in order when it is asked to."""
    with log.open("wb") as out:
        process = subprocess.Popen(line, env=environ, stdout=out, stderr=out)
        try:
            yield
            process.send_signal(signal.SIGTERM)
            assert process.wait(DRAIN_S) == 0, log.read_text()
        finally:
            process.kill()
            process.wait()


def test_the_topics_job_finds_or_creates_what_is_planned(stack: Stack) -> None:
    line, environ = process_of(by_component(rendered(stack), "Job")["topics"])
    done = subprocess.run(line, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 not as planned" in done.stdout


def test_every_component_becomes_ready_and_helm_test_sees_it(stack: Stack, tmp_path: Path) -> None:
    workloads = by_component(rendered(stack), "StatefulSet")
    assert len(workloads) == 7
    own = own_addresses(tmp_path)
    ports = free_ports(2 * len(workloads))
    urls = []
    with ExitStack() as processes:
        for name, workload in workloads.items():
            telemetry, api = str(ports.pop()), str(ports.pop())
            changes = {"SLUICE_TELEMETRY__HTTP_PORT": telemetry}
            if name == "billing":
                changes["SLUICE_BILLING__HTTP_PORT"] = api
            line, environ = process_of(workload, **changes)
            # Only in place of what the chart has set: which process serves what is the chart's.
            environ |= {name: value for name, value in own.items() if name in environ}
            processes.enter_context(running(line, environ, tmp_path / f"{name}.log"))
            urls.append(f"http://127.0.0.1:{telemetry}/ready")
        script = str(CHART / "files" / "test_ready.py")
        asked = subprocess.run(
            [sys.executable, script, WITHIN_S, *urls], capture_output=True, text=True, check=False
        )
        assert asked.returncode == 0, asked.stdout
        assert asked.stdout.count(" ready\n") == len(workloads)
