"""An earlier version of the services: unpacked from the repository, and how a process runs it.

The processes use the packages of this checkout; only our code is from the earlier version.
"""

from __future__ import annotations

import subprocess
import tarfile
from pathlib import Path

from cli.stack import paths


def last_release() -> str:
    """Return the newest tag before this commit; "" if there is none."""
    command = ["git", "describe", "--tags", "--abbrev=0"]
    done = subprocess.run(command, cwd=paths.ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""


def unpack(revision: str, folder: Path) -> dict[str, str]:
    """Unpack a revision; return the variables with which a process runs its code."""
    packed = folder / "version.tar"
    command = ["git", "archive", "-o", str(packed), revision, "services", "shared", "cli"]
    subprocess.run(command, cwd=paths.ROOT, check=True)
    root = folder / "version"
    with tarfile.open(packed) as archive:
        archive.extractall(root, filter="data")
    return {"PYTHONPATH": str(root)}
