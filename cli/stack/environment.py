"""The services by name, and the environment in which their modules are found."""

from __future__ import annotations

import os
from typing import Final

from cli.stack import paths as places

SERVICES: Final = ("ingest", "validate", "deliver", "billing")
# A process beside the services: `python -m services.validate api`.
API: Final = "api"
PROCESSES: Final = (*SERVICES, API)
# Parts of services that also run as processes of their own (`up --apart`): the reading of returned
# mail, otherwise in validate, and the two doors, otherwise in ingest.
RESPONSES: Final = "responses"
FRONT: Final = "front"
BOUNCE: Final = "bounce"
APART: Final = (RESPONSES, FRONT, BOUNCE)
EVERY_PROCESS: Final = (*PROCESSES, *APART)
# The service whose module and settings each of these has.
_SERVICE_OF: Final = {API: "validate", RESPONSES: "validate", FRONT: "ingest", BOUNCE: "ingest"}


def module_of(process: str) -> str:
    """The module that a process runs; it has the settings of that service."""
    return f"services.{_SERVICE_OF.get(process, process)}"


def base_environment() -> dict[str, str]:
    """The variables by which a Python process of a pipeline finds the packages from any folder."""
    paths = [str(places.ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {"PYTHONPATH": os.pathsep.join(dict.fromkeys(paths)), "PYTHONSAFEPATH": "1"}
