"""The Dockerfile and compose.yaml agree with the code."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Any

import yaml

from shared.settings.sections import SECTIONS

ROOT = Path(__file__).resolve().parents[4]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())


def test_compose_runs_the_whole_line() -> None:
    parts = {"kafka", "redis", "ingest", "validate", "deliver", "billing", "sink"}
    assert parts <= COMPOSE["services"].keys()


def test_compose_runs_modules_that_exist() -> None:
    modules = [
        service["command"][0]
        for service in COMPOSE["services"].values()
        if service.get("image") == "sluice" and "entrypoint" not in service
    ]
    assert len(modules) == 5
    for module in modules:
        assert importlib.util.find_spec(f"{module}.__main__") is not None, module


def test_compose_names_only_settings_of_known_sections() -> None:
    names = [
        name
        for service in COMPOSE["services"].values()
        for name in service.get("environment", {})
        if name.startswith("SLUICE_")
    ]
    assert names
    sections = {name.removeprefix("SLUICE_").partition("__")[0].lower() for name in names}
    assert sections <= set(SECTIONS)


def test_compose_depends_only_on_what_it_has() -> None:
    for service in COMPOSE["services"].values():
        assert service.get("depends_on", {}).keys() <= COMPOSE["services"].keys()


def test_compose_opens_doors_on_the_loopback_interface_only() -> None:
    ports = [port for each in COMPOSE["services"].values() for port in each.get("ports", [])]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_the_image_copies_what_is_in_the_tree_and_runs_as_an_ordinary_user() -> None:
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    copied = [line.split()[1:-1] for line in lines if line.startswith("COPY ") and "--" not in line]
    assert copied
    for name in (name for names in copied for name in names):
        assert (ROOT / name).exists(), name
    assert any(line.startswith("USER ") and "root" not in line for line in lines)


def test_the_image_gets_everything_it_copies_past_the_ignore_file() -> None:
    passed = re.findall(r"^!(\S+)$", (ROOT / ".dockerignore").read_text(), re.MULTILINE)
    sources = {"services", "shared", "cli", "local/__init__.py", "local/sink"}
    assert {"pyproject.toml", "uv.lock", *sources} == set(passed)
