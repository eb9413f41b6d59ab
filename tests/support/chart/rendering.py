"""Renders the chart with the Helm CLIs, each set of values once per process."""

from __future__ import annotations

import json
import os
import subprocess
from functools import cache
from pathlib import Path
from typing import Any, Final

import yaml

from tests.support.patience import PATIENCE_S
from tools.chart import CHART
from tools.foreign_programs import HELM_3, HELM_4, GoProgram, fetch_go_program

EXAMPLES: Final = tuple(sorted((CHART / "examples").glob("*.yaml")))
# Every feature that can be combined, so that every template is rendered.
EVERYTHING: Final = CHART.parent / "tests" / "chart" / "everything.yaml"
VALUE_SETS: Final = {path.stem: path for path in (*EXAMPLES, EVERYTHING)}
HELMS: Final = {"helm-3": HELM_3, "helm-4": HELM_4}
KUBERNETES: Final = "1.37.0"
RELEASE: Final = "mail"
NAMESPACE: Final = "post"
# Helm is a short process that needs no garbage collection, which took a third of its time.
_GARBAGE_PERCENT: Final = "800"

# The values that every installation must set.
REQUIRED: Final[dict[str, Any]] = {
    "image": {"repository": "registry.example.com/sluice"},
    "kafka": {"bootstrap": "k1:9092,k2:9093"},
    "redis": {"host": "valkey"},
    "sending": {"ehloName": "out.example.com"},
}

Resource = dict[str, Any]


class ChartRefused(Exception):
    """Helm did not render the chart; the text is Helm's output."""


def merged(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Return `base` with the changes, mapping by mapping, as Helm merges values."""
    found = dict(base)
    for key, value in changes.items():
        old = found.get(key)
        if isinstance(old, dict) and isinstance(value, dict):
            found[key] = merged(old, value)
        else:
            found[key] = value
    return found


def render(changes: dict[str, Any] | None = None, helm: GoProgram = HELM_4) -> list[Resource]:
    """Render with the required values and these changes. Raises ChartRefused."""
    return load(run_helm("template", helm, values=merged(REQUIRED, changes or {})))


def render_set(name: str, helm: GoProgram = HELM_4) -> list[Resource]:
    """Render one of VALUE_SETS. Raises ChartRefused."""
    return load(_render_file(VALUE_SETS[name], helm))


def notes(values: dict[str, Any]) -> str:
    """Return the notes after an installation."""
    shown = run_helm("install", HELM_4, "--dry-run=client", values=values)
    return shown.partition("\nNOTES:\n")[2]


def load(text: str) -> list[Resource]:
    """Return the resources of a stream of YAML documents."""
    return [each for each in yaml.load_all(text, yaml.CSafeLoader) if each]


@cache
def _render_file(path: Path, helm: GoProgram) -> str:
    return _run("template", helm, ("-f", str(path)), "")


def run_helm(
    command: str, helm: GoProgram, *options: str, values: dict[str, Any], release: str = RELEASE
) -> str:
    """Return Helm's output for exactly these values. Raises ChartRefused."""
    return _run(command, helm, ("-f", "-", *options), json.dumps(values, sort_keys=True), release)


@cache
def _run(
    command: str, helm: GoProgram, options: tuple[str, ...], given: str, release: str = RELEASE
) -> str:
    # Without --kube-version, `helm template` assumes an old Kubernetes version.
    version = ("--kube-version", KUBERNETES) if command == "template" else ()
    line = [
        str(fetch_go_program(helm)),
        command,
        release,
        str(CHART),
        "-n",
        NAMESPACE,
        *version,
        *options,
    ]
    environ = {**os.environ, "GOGC": _GARBAGE_PERCENT}
    done = subprocess.run(
        line,
        input=given,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
        env=environ,
    )
    if done.returncode != 0:
        raise ChartRefused(done.stderr)
    return done.stdout
