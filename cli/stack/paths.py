"""Defines paths and modules: the source tree, the folder with all state, and the services."""

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
# A process that runs beside the services: `python -m services.validate api`.
API: Final = "api"
PROCESSES: Final = (*SERVICES, API)
# Parts of services that can also run as separate processes (`up --apart`). Without these processes,
# the validate service reads returned mail, and the ingest service serves the two doors.
RESPONSES: Final = "responses"
FRONT: Final = "front"
BOUNCE: Final = "bounce"
APART: Final = (RESPONSES, FRONT, BOUNCE)
EVERY_PROCESS: Final = (*PROCESSES, *APART)
# Maps a process that is not named after a service to the service whose module and settings the
# process uses.
_SERVICE_OF: Final = {API: "validate", RESPONSES: "validate", FRONT: "ingest", BOUNCE: "ingest"}


def run_folder(name: str) -> Path:
    """Return the folder of one pipeline, with its state.json, its logs and its broker's data."""
    return RUNS / name


def module_of(process: str) -> str:
    """Return the module that a process runs: the module of its service."""
    return f"services.{_SERVICE_OF.get(process, process)}"


def base_environment() -> dict[str, str]:
    """Return the variables with which a Python process finds the packages from any folder."""
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {"PYTHONPATH": os.pathsep.join(dict.fromkeys(paths)), "PYTHONSAFEPATH": "1"}
