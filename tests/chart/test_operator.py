"""The pod of operators: the settings of all components, the operator's login, and the commands."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from cli.options import KafkaOnly
from cli.stack.paths import ROOT
from shared.settings.loader import load
from tests.support.chart.rendering import Resource, render, render_set
from tests.support.chart.resources import by_component, environment, of_kind
from tests.support.smtp_peers import wait_until
from tools.chart.components import COMPONENTS, model_of


def container(resources: list[Resource]) -> dict[str, Any]:
    workload = by_component(resources, "Deployment")["operator"]
    (found,) = workload["spec"]["template"]["spec"]["containers"]
    return dict(found)


def test_its_commands_find_kafka_and_redis() -> None:
    environ = environment(container(render_set("everything")))
    kafka = load(KafkaOnly, environ).settings.kafka
    assert kafka.bootstrap == "[2001:db8::1]:9094,k2:9095"
    assert kafka.topic_configs == {"mail.outbound.*": {"retention.ms": "2592000000"}}
    assert environ["SLUICE_REDIS__URL"] == "rediss://[2001:db8::2]:6379/0"


# A value that is no default, for each section that belongs to one service.
OF_COMPONENTS: dict[str, dict[str, Any]] = {
    "ingest": {"settings": {"ingest": {"max_records": 7}}},
    "validate": {"settings": {"validate": {"max_records": 9}}},
    "platform": {"enabled": True, "settings": {"api": {"requests_per_minute": 77}}},
    "deliver": {"settings": {"deliver": {"max_connections": 33}}},
    "billing": {
        "settings": {"billing": {"time_zone": "Europe/Berlin", "store": "postgresql"}},
        "secretMounts": [{"name": "signing", "secret": "of-billing"}],
    },
}


def test_every_service_has_the_settings_of_its_component() -> None:
    values = {"operator": {"enabled": True}, "components": OF_COMPONENTS}
    resources = render(values)
    environ = environment(container(resources))
    workloads = by_component(resources, "StatefulSet")
    for name, given in OF_COMPONENTS.items():
        (own,) = workloads[name]["spec"]["template"]["spec"]["containers"]
        ((section, pairs),) = given["settings"].items()
        service = model_of(COMPONENTS[name].service)
        theirs = getattr(load(service, environment(own)).settings, section)
        found = getattr(load(service, environ).settings, section)
        for key in pairs:
            assert getattr(found, key) == getattr(theirs, key) != getattr(type(found)(), key)


def test_the_settings_of_defaults_arrive_and_those_of_components_replace_them() -> None:
    environ = environment(
        container(
            render(
                {
                    "operator": {"enabled": True},
                    "settings": {"billing": {"time_zone": "Asia/Tokyo"}},
                    "defaults": {
                        "settings": {
                            "kafka": {"compression": "gzip"},
                            "deliver": {"max_connections": 5, "max_in_flight": 50},
                        }
                    },
                    "components": {"deliver": {"settings": {"deliver": {"max_connections": 6}}}},
                }
            )
        )
    )
    assert environ["SLUICE_KAFKA__COMPRESSION"] == "gzip"
    assert environ["SLUICE_BILLING__TIME_ZONE"] == "Asia/Tokyo"
    assert environ["SLUICE_DELIVER__MAX_CONNECTIONS"] == "6"
    assert environ["SLUICE_DELIVER__MAX_IN_FLIGHT"] == "50"


def test_lanes_are_those_of_the_chart() -> None:
    environ = environment(container(render_set("production")))
    assert "gmail" in json.loads(environ["SLUICE_VALIDATE__LANES"])


def test_it_reaches_postgresql_where_the_component_of_billing_does() -> None:
    resources = render({"operator": {"enabled": True}, "components": OF_COMPONENTS})
    policy = by_component(resources, "NetworkPolicy")["operator"]
    assert {"ports": [{"port": 5432, "protocol": "TCP"}]} in policy["spec"]["egress"]


def test_it_has_the_secrets_that_it_is_given_and_no_others_of_components() -> None:
    given: dict[str, Any] = {
        "enabled": True,
        "secretMounts": [{"name": "key", "secret": "bills"}],
        "extraEnv": [{"name": "A", "value": "own"}],
        "extraVolumes": [{"name": "more", "configMap": {"name": "own"}}],
        "extraVolumeMounts": [{"name": "more", "mountPath": "/etc/more"}],
        "extraEgress": [{"ports": [{"port": 8443, "protocol": "TCP"}]}],
    }
    every = {
        "extraEnv": [{"name": "A", "value": "all"}, {"name": "B", "value": "all"}],
        "secretMounts": [{"name": "ca", "secret": "shared"}],
    }
    resources = render({"operator": given, "defaults": every, "components": OF_COMPONENTS})
    workload = by_component(resources, "Deployment")["operator"]
    volumes = {one["name"]: one for one in workload["spec"]["template"]["spec"]["volumes"]}
    assert set(volumes) == {"tmp", "secret-ca", "secret-key", "more"}
    assert volumes["secret-key"]["secret"]["secretName"] == "bills"
    mounts = {one["name"]: one["mountPath"] for one in container(resources)["volumeMounts"]}
    assert mounts["secret-key"] == "/etc/sluice/key"
    assert mounts["more"] == "/etc/more"
    environ = environment(container(resources))
    assert (environ["A"], environ["B"]) == ("own", "all")
    policy = by_component(resources, "NetworkPolicy")["operator"]
    assert given["extraEgress"][0] in policy["spec"]["egress"]


def catches(pid: int, number: signal.Signals) -> bool:
    """Whether a process has set up what it does on a signal."""
    status = Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"^SigCgt:\s*([0-9a-f]+)$", status, re.MULTILINE)
    return found is not None and bool(int(found[1], 16) >> (number - 1) & 1)


def test_it_waits_until_it_is_ended() -> None:
    command = container(render_set("production"))["command"]
    process = subprocess.Popen([sys.executable, *command[1:]], cwd=ROOT, stderr=subprocess.PIPE)
    try:
        # A signal that comes before it is caught would end the start.
        wait_until(lambda: catches(process.pid, signal.SIGTERM), "the signal is caught")
        try:
            process.wait(1)
        except subprocess.TimeoutExpired:
            process.terminate()
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.communicate()


def test_there_is_none_unless_it_is_asked_for() -> None:
    resources = render()
    assert of_kind(resources, "Deployment") == []
    assert "operator" not in by_component(resources, "NetworkPolicy")
