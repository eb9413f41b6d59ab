"""Writes a file of a pipeline whole or not at all: a start that is killed leaves the one before."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

_FOR_ALL: Final = 0o666  # less the process's umask


def write_whole(path: Path, text: str, mode: int = _FOR_ALL) -> None:
    """Replace the file, or make it with this mode. Raises OSError."""
    draft = path.with_suffix(".part")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "w") as file:
        file.write(text)
    draft.replace(path)
