"""The name of a command in its usage lines."""

from __future__ import annotations

import os
from typing import Final

# The launcher sets it to the name by which it was called ("./sluice").
VARIABLE: Final = "SLUICE_COMMAND"


def program_name(command: str) -> str | None:
    """Return `./sluice <command>` if the launcher runs it; None means `python -m ...`."""
    launcher = os.environ.get(VARIABLE)
    return f"{launcher} {command}" if launcher else None
