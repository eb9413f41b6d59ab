"""What an operator reads after an installation, and what `helm test` runs."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from shared.runtime.health import HealthServer
from shared.runtime.telemetry import Counters
from shared.settings.sections import TelemetrySettings
from tests.support.chart.rendering import REQUIRED, VALUE_SETS, merged, notes, render_set
from tests.support.chart.resources import of_kind
from tools.chart import CHART

SAFE: dict[str, Any] = {
    "kafka": {
        "tls": {"enabled": True},
        "sasl": {"mechanism": "SCRAM-SHA-512", "secret": "s"},
    },
    "redis": {"secret": "r"},
    "settings": {"deliver": {"reach_internet": True}},
    "sending": {"dkim": {"secret": "d"}, "sourceAddresses": ["192.0.2.1"]},
}


def warnings(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("WARNING: ")]


def test_a_safe_installation_has_no_warning() -> None:
    text = notes(merged(REQUIRED, SAFE))
    assert warnings(text) == []
    assert "helm test mail -n post" in text
    assert "192.0.2.1" in text
    assert "PTR record that names out.example.com" in text


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"kafka": {"tls": {"enabled": False}}}, "kafka.tls.enabled is false"),
        ({"kafka": {"sasl": {"mechanism": "", "secret": ""}}}, "neither SASL nor"),
        ({"redis": {"secret": ""}}, "redis.secret is empty"),
        ({"settings": {"deliver": {"reach_internet": False}}}, "confirm this with reach_internet"),
        ({"sending": {"dkim": {"secret": ""}}}, "mail is not signed"),
        ({"sending": {"sourceAddresses": []}}, "sending.sourceAddresses is empty"),
        ({"networkPolicy": {"enabled": False}}, "networkPolicy.enabled is false"),
        ({"topics": {"manage": "none"}}, "topics.manage is none"),
        ({"components": {"billing": {"replicas": 1}}}, "components.billing: a single process"),
        (
            {"monitoring": {each: {"enabled": True} for each in ("podMonitor", "serviceMonitor")}},
            "scraped twice",
        ),
        (
            {"kafka": {"replication": 1, "minInSyncReplicas": 1, "allowLowReplication": True}},
            "fewer than 3 copies",
        ),
    ],
)
def test_what_may_not_be_meant_is_a_warning(changes: dict[str, Any], words: str) -> None:
    found = warnings(notes(merged(merged(REQUIRED, SAFE), changes)))
    assert len(found) == 1
    assert words in found[0]


def test_the_notes_of_every_value_set_are_readable() -> None:
    for path in VALUE_SETS.values():
        text = notes(yaml.safe_load(path.read_text()))
        assert "\n\n\n" not in text
        assert "<no value>" not in text


def test_helm_test_asks_every_component() -> None:
    (pod,) = of_kind(render_set("production"), "Pod")
    assert pod["metadata"]["annotations"]["helm.sh/hook"] == "test"
    _, _, script, seconds, *urls = pod["spec"]["containers"][0]["command"]
    assert script == (CHART / "files" / "test_ready.py").read_text()
    assert int(seconds) < pod["spec"]["activeDeadlineSeconds"]
    hosts = [each.split("/")[2].split(":")[0] for each in urls]
    workloads = {
        each["metadata"]["name"] for each in of_kind(render_set("production"), "StatefulSet")
    }
    assert set(hosts) == workloads
    services = {each["metadata"]["name"] for each in of_kind(render_set("production"), "Service")}
    assert set(hosts) <= services


@pytest.fixture
def health() -> Iterator[HealthServer]:
    counters = Counters("deliver", "one")
    server = HealthServer(TelemetrySettings(), counters)
    yield server
    server.close()
    counters.close()


def ask(*urls: str) -> subprocess.CompletedProcess[str]:
    script = (CHART / "files" / "test_ready.py").read_text()
    line = [sys.executable, "-c", script, "0", *urls]
    return subprocess.run(line, capture_output=True, text=True, timeout=60, check=False)


def test_the_script_of_helm_test_reports_each_process(health: HealthServer) -> None:
    url = f"http://127.0.0.1:{health.port}/ready"
    starting = ask(url)
    assert starting.returncode == 1
    assert "status 503" in starting.stdout
    assert "starting" in starting.stdout
    health.add_ready("kafka", lambda: "")
    assert ask(url).stdout == f"{url} ready\n"
    both = ask(url, "http://127.0.0.1:1/ready")
    assert both.returncode == 1
    assert "refused" in both.stdout
