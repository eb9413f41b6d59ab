"""What an operator reads after an installation, and what `helm test` runs."""

from __future__ import annotations

import runpy
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import yaml

from shared.runtime.health import HealthServer
from shared.runtime.telemetry import Counters
from shared.settings.sections import TelemetrySettings
from tests.support.chart.rendering import REQUIRED, VALUE_SETS, merged, notes, render_set
from tests.support.chart.resources import of_kind
from tests.support.patience import PATIENCE_S
from tools.chart import CHART

NAME = "sluice-deliver"
SAFE: dict[str, Any] = {
    "kafka": {
        "tls": {"enabled": True},
        "sasl": {"mechanism": "SCRAM-SHA-512", "secret": "kafka-{name}"},
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
    assert "PTR record with the name out.example.com" in text


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"kafka": {"tls": {"enabled": False}}}, "kafka.tls.enabled is false"),
        ({"kafka": {"sasl": {"mechanism": "", "secret": ""}}}, "neither SASL nor"),
        ({"kafka": {"sasl": {"secret": "s"}}}, "all components log in as one user"),
        (
            {"kafka": {"tls": {"clientSecret": "c"}, "sasl": {"mechanism": "", "secret": ""}}},
            "all components log in as one user",
        ),
        ({"redis": {"secret": ""}}, "redis.secret is empty"),
        ({"settings": {"deliver": {"reach_internet": False}}}, "confirm this with reach_internet"),
        ({"sending": {"dkim": {"secret": ""}}}, "mail is not signed"),
        ({"sending": {"sourceAddresses": []}}, "sending.sourceAddresses is empty"),
        ({"networkPolicy": {"enabled": False}}, "networkPolicy.enabled is false"),
        (
            {"settings": {"deliver": {"sources": {"a": ["a.example.com", "192.0.2.1"]}}}},
            "settings.deliver.sources: each process must have these addresses",
        ),
        ({"components": {"platform": {"enabled": True}}}, "cannot verify the links"),
        (
            {
                "kafka": {"tls": {"checkHostName": False}},
                "components": {"ingest": {"autoscaling": {"mode": "keda", "max": 3}}},
            },
            "KEDA always checks it",
        ),
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
        ({"kafka": {"minInSyncReplicas": 3}}, "while one broker is down nothing can be written"),
    ],
)
def test_what_may_not_be_meant_is_a_warning(changes: dict[str, Any], words: str) -> None:
    found = warnings(notes(merged(merged(REQUIRED, SAFE), changes)))
    assert len(found) == 1
    assert words in found[0]


def test_the_notes_say_when_mail_may_leave_with_our_return_path() -> None:
    door = {"enabled": True, "hostName": "mx.example.com", "certificateSecret": "tls"}
    values = merged(REQUIRED, {"bounceDoor": door, "returnPath": {"secret": "keys"}})
    assert "returnPath.used" not in notes(values)
    assert "set returnPath.used to true" in notes(merged(values, {"returnPath": {"used": False}}))


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


SHORT, LONG = "LOOK_UP_S, ASK_S = 5.0, 10.0", "LOOK_UP_S, ASK_S = 60.0, 120.0"


@pytest.fixture
def health() -> Iterator[HealthServer]:
    counters = Counters("deliver", "one")
    server = HealthServer(TelemetrySettings(), counters)
    yield server
    server.close()
    counters.close()


def ask(*urls: str) -> subprocess.CompletedProcess[str]:
    """Run the script; a busy machine has more time for an answer than the chart gives."""
    script = (CHART / "files" / "test_ready.py").read_text()
    for short, long in (("ANSWER_TIMEOUT_S = 5.0", "ANSWER_TIMEOUT_S = 60.0"), (SHORT, LONG)):
        assert short in script
        script = script.replace(short, long)
    line = [sys.executable, "-c", script, "0", *urls]
    return subprocess.run(line, capture_output=True, text=True, timeout=240, check=False)


def test_the_script_of_helm_test_asks_every_process_of_a_headless_service(
    health: HealthServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    health.add_ready("kafka", lambda: "")
    place = (socket.AF_INET, socket.SOCK_STREAM, 6, "")
    pods = [(*place, (address, health.port)) for address in ("127.0.0.1", "127.0.0.2")]
    look_up = socket.getaddrinfo
    monkeypatch.setattr(
        socket,
        "getaddrinfo",
        lambda host, *rest, **more: pods if host == NAME else look_up(host, *rest, **more),
    )
    main = runpy.run_path(str(CHART / "files" / "test_ready.py"))["main"]
    url = f"http://{NAME}:{health.port}/ready"
    assert main(0, [url]) == 1
    told = capsys.readouterr().out
    assert f"127.0.0.1:{health.port}/ready ready" in told
    assert f"127.0.0.2:{health.port}/ready <urlopen error" in told


def test_the_script_of_helm_test_reports_each_process(health: HealthServer) -> None:
    url = f"http://127.0.0.1:{health.port}/ready"
    starting = ask(url)
    assert starting.returncode == 1
    assert "status 503" in starting.stdout
    assert "starting" in starting.stdout
    health.add_ready("kafka", lambda: "")
    assert ask(url).stdout == f"{url} {url} ready\n"
    both = ask(url, "http://127.0.0.1:1/ready")
    assert both.returncode == 1
    assert "refused" in both.stdout


class AnswersTogether(BaseHTTPRequestHandler):
    """Answers 200 once all that are expected have asked, and 503 if they do not come."""

    expected = threading.Barrier(20)

    def do_GET(self) -> None:
        try:
            self.expected.wait(50)
            self.send_response(200)
        except threading.BrokenBarrierError:
            self.send_response(503)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


class ManyAtOnce(ThreadingHTTPServer):
    """Lets all of them connect before the first is answered."""

    request_queue_size = 64


def test_the_script_of_helm_test_asks_all_at_once_so_that_silent_ones_cost_no_time() -> None:
    with ManyAtOnce(("0.0.0.0", 0), AnswersTogether) as server:
        threading.Thread(target=server.serve_forever).start()
        try:
            port = server.server_port
            done = ask(*(f"http://127.0.0.{one}:{port}/ready" for one in range(1, 21)))
        finally:
            server.shutdown()
    assert done.stdout.count(" ready\n") == 20, done.stdout
    assert done.returncode == 0


def test_the_script_of_helm_test_prints_what_it_knows_while_the_name_server_hangs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    released = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: released.wait(PATIENCE_S) and [])
    script = runpy.run_path(str(CHART / "files" / "test_ready.py"))
    main = script["main"]
    main.__globals__.update(LOOK_UP_S=0.0, ASK_S=0.0)
    try:
        assert main(0, [f"http://{NAME}:1/ready"]) == 1
    finally:
        released.set()
    assert capsys.readouterr().out == f"http://{NAME}:1/ready http://{NAME}:1/ready no answer\n"
