"""The pod of operators: the settings of all components, the operator's login, and the commands."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from cli.stack.paths import ROOT
from cli.target import KafkaOnly
from shared.settings.loader import load
from tests.support.chart.rendering import Resource, render, render_set
from tests.support.chart.resources import by_component, environment, of_kind
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


def test_every_service_shows_its_settings_with_its_variables() -> None:
    environ = environment(container(render_set("production")))
    for component in COMPONENTS.values():
        settings = load(model_of(component.service), environ).settings
        assert settings.kafka.replication == 3
    lanes = json.loads(environ["SLUICE_VALIDATE__LANES"])
    assert "gmail" in lanes


def test_it_waits_until_it_is_ended() -> None:
    command = container(render_set("production"))["command"]
    process = subprocess.Popen([sys.executable, *command[1:]], cwd=ROOT, stderr=subprocess.PIPE)
    try:
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
