"""What a command calls itself in its usage lines."""

from __future__ import annotations

import os
from typing import Final

# Set by the launcher to how it was called ("./sluice").
VARIABLE: Final = "SLUICE_COMMAND"


def program_name(command: str) -> str | None:
    """`./sluice` and the command where the launcher runs it, else None: `python -m ...`."""
    launcher = os.environ.get(VARIABLE)
    return f"{launcher} {command}" if launcher else None
