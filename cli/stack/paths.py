"""Paths and modules: the tree, the folder of all state (git ignores it), and the services."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
STATE: Final = ROOT / ".sluice"
RUNS: Final = STATE / "run"
KAFKA: Final = STATE / "kafka"
INSTALL_LOG: Final = STATE / "install.log"
SERVICES: Final = ("ingest", "validate", "deliver", "billing")
# A process beside the services: `python -m services.validate api`.
API: Final = "api"
PROCESSES: Final = (*SERVICES, API)
# Parts of services that also run as separate processes (`up --apart`): the reading of returned
# mail, otherwise in validate, and the two doors, otherwise in ingest.
RESPONSES: Final = "responses"
FRONT: Final = "front"
BOUNCE: Final = "bounce"
APART: Final = (RESPONSES, FRONT, BOUNCE)
EVERY_PROCESS: Final = (*PROCESSES, *APART)
# The service whose module and settings each process has.
_SERVICE_OF: Final = {API: "validate", RESPONSES: "validate", FRONT: "ingest", BOUNCE: "ingest"}


def run_folder(name: str) -> Path:
    """The folder of one pipeline: its state.json, its logs, its broker's data."""
    return RUNS / name


def module_of(process: str) -> str:
    """The module that a process runs; it has the settings of that service."""
    return f"services.{_SERVICE_OF.get(process, process)}"


def base_environment() -> dict[str, str]:
    """The variables by which a Python process of a pipeline finds the packages from any folder."""
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {"PYTHONPATH": os.pathsep.join(dict.fromkeys(paths)), "PYTHONSAFEPATH": "1"}
