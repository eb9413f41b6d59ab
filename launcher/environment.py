"""Makes the environment `.venv` from uv.lock, and uv.lock from pyproject.toml.

The lock is exported before it is installed; docs/decisions/0001-lock-without-hosts.md gives the
reason. Owns: `.venv` and `.sluice/env`. Guarantees: if a folder cannot be used, for example because
it belongs to another user, UnavailableError is raised with one line of text. This module uses only
the standard library.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import re
import shutil
import sys
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from launcher.commands import ROOT
from launcher.uv import STATE, UnavailableError, find_uv, run

VENV: Final = ROOT / ".venv"
PYTHON: Final = VENV / "bin" / "python"
STAMP: Final = VENV / ".sluice-stamp"
# The lock contains these names instead of the hosts of the index and of its files.
INDEX_PLACEHOLDER: Final = "https://index.invalid/simple"
FILES_PLACEHOLDER: Final = "https://files.invalid/"


def neutralise(lock: str) -> str:
    """Return the lock with the hosts of the package index replaced by names under .invalid.

    Versions, paths and hashes stay the same. A second call changes nothing.
    """
    lock = re.sub(r'\bregistry = "[^"]*"', f'registry = "{INDEX_PLACEHOLDER}"', lock)
    return re.sub(r'\burl = "https?://[^/"]+/', f'url = "{FILES_PLACEHOLDER}', lock)


def fingerprint(lock: bytes, pyproject: bytes) -> str:
    """Return a hash of the files that determine the environment, except the settings of tools."""
    project = tomllib.loads(pyproject.decode())
    relevant = [project.get("project"), project.get("dependency-groups")]
    relevant.append(project.get("tool", {}).get("uv"))
    digest = hashlib.sha256(lock)
    digest.update(json.dumps(relevant, sort_keys=True).encode())
    return digest.hexdigest()


@contextlib.contextmanager
def usable_folder(fault: str) -> Iterator[None]:
    """Within the block, raise UnavailableError with `fault` if a file cannot be read or written."""
    try:
        yield
    except OSError as error:
        path = f"{error.filename}: " if error.filename else ""
        raise UnavailableError(
            f"{fault}: {path}{error.strerror}; let this user write to {ROOT}, or run `./sluice env`"
            " as a user who has that permission"
        ) from None


@contextlib.contextmanager
def only_one() -> Iterator[None]:
    """Hold a lock; a second launcher waits until the first one has finished the set-up."""
    STATE.mkdir(exist_ok=True)
    with (STATE / "env.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield


def environment_is_current(wanted: str) -> bool:
    """Return True if .venv was made from exactly this lock and its Python still exists."""
    try:
        return STAMP.read_text() == wanted and (VENV / "bin" / "python").exists()
    except OSError:
        return False


@usable_folder(f"{VENV} is missing or old, and cannot be made")
def prepare_environment() -> Path:
    """Install exactly the packages of the lock in `.venv`; return the Python of `.venv`."""
    python = VENV / "bin" / "python"
    lock, pyproject = ROOT / "uv.lock", ROOT / "pyproject.toml"
    wanted = fingerprint(lock.read_bytes(), pyproject.read_bytes())
    if environment_is_current(wanted):
        return python
    with only_one():
        if environment_is_current(wanted):
            return python
        uv = find_uv()
        STAMP.unlink(missing_ok=True)
        if not python.exists():
            shutil.rmtree(VENV, ignore_errors=True)
            run(
                [uv, "venv", "-q", "--python", sys.executable, VENV],
                "making the virtual environment .venv",
            )
        pins = STATE / "env" / "requirements.txt"
        pins.parent.mkdir(exist_ok=True)
        export = [uv, "export", "-q", "--frozen", "--no-emit-project"]
        run([*export, "--format", "requirements-txt", "-o", pins], "reading uv.lock")
        count = sum("==" in line for line in pins.read_text().splitlines())
        sync: list[str | Path] = [
            uv,
            "pip",
            "sync",
            "-q",
            "--require-hashes",
            "--python",
            python,
            pins,
        ]
        run(sync, f"installing the {count} packages of uv.lock in .venv")
        STAMP.write_text(wanted)
    return python


@usable_folder("uv.lock cannot be made")
def relock(arguments: Sequence[str]) -> int:
    """Run `./sluice lock`: uv locks a copy of the project; hosts are removed from that lock."""
    with only_one():
        uv = find_uv()
        copy = STATE / "env" / "lock"
        copy.mkdir(parents=True, exist_ok=True)
        for name in ("pyproject.toml", "uv.lock"):
            if (ROOT / name).exists():
                shutil.copyfile(ROOT / name, copy / name)
        run(
            [uv, "lock", "--project", copy, "--python", sys.executable, *arguments],
            "resolving the dependencies with uv lock",
        )
        neutral = neutralise((copy / "uv.lock").read_text())
        written = copy / "uv.lock.neutral"
        written.write_text(neutral)
        written.replace(ROOT / "uv.lock")
        (copy / "uv.lock").unlink()
    return 0
