"""compose.yaml runs the image with settings that the services know."""

from __future__ import annotations

import importlib.util
from typing import Any, Final

import yaml

from cli.stack import paths
from shared.settings.loader import load
from tests.support.chart.image import stages
from tools.chart.components import model_of

COMPOSE: Final[dict[str, Any]] = yaml.safe_load((paths.ROOT / "compose.yaml").read_text())
OURS: Final = {
    name: each for name, each in COMPOSE["services"].items() if isinstance(each.get("build"), dict)
}


def test_compose_runs_the_whole_line() -> None:
    parts = {"kafka", "redis", "ingest", "validate", "deliver", "billing", "api", "sink"}
    assert parts <= COMPOSE["services"].keys()


def test_compose_runs_modules_that_exist() -> None:
    modules = [each["command"][0] for each in OURS.values() if "entrypoint" not in each]
    assert len(modules) == 7
    for module in modules:
        assert importlib.util.find_spec(f"{module}.__main__") is not None, module


def test_compose_builds_stages_that_exist() -> None:
    assert {each["build"]["target"] for each in OURS.values()} == {"services", "sink"}
    assert {"services", "sink"} <= stages().keys()


def test_every_service_starts_with_the_settings_of_compose() -> None:
    started = 0
    for each in OURS.values():
        module = each["command"][0]
        environ = each.get("environment", {})
        if module.startswith("services."):
            loaded = load(model_of(module.removeprefix("services.")), environ)
            given = {key for key, origin in loaded.origins.items() if "environment" in origin}
            assert {"runtime.instance", "kafka.bootstrap"} <= given
            started += 1
    assert started == 6


def test_compose_depends_only_on_what_it_has() -> None:
    for service in COMPOSE["services"].values():
        assert service.get("depends_on", {}).keys() <= COMPOSE["services"].keys()


def test_compose_opens_doors_on_the_loopback_interface_only() -> None:
    ports = [port for each in COMPOSE["services"].values() for port in each.get("ports", [])]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_our_containers_are_as_restricted_as_in_the_chart() -> None:
    assert len(OURS) == 8
    for each in OURS.values():
        assert each["read_only"] is True
        assert each["cap_drop"] == ["ALL"]
        assert each["security_opt"] == ["no-new-privileges:true"]
