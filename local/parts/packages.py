"""Installs system packages with apt if the user is root or has sudo without a password.

Owns: the calls of sudo and apt, and their log. Guarantees: if packages cannot be installed,
PartNotStarted is raised, with one line of text that lists the packages. Nothing is printed on
standard output.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from cli.stack import paths
from local.process import PartNotStarted

# apt waits this long for a lock that another package manager holds. For example, a new cloud
# machine may be updating itself.
_LOCK_WAIT_S: Final = 180


def say(text: str) -> None:
    """Report a set-up step on standard error."""
    print(f"sluice: {text}", file=sys.stderr, flush=True)


@contextmanager
def step(what: str) -> Iterator[None]:
    """Report a set-up step that may take long and, at its end, the seconds that it took."""
    say(what)
    began = time.monotonic()
    yield
    say(f"{what}: done in {time.monotonic() - began:.0f} s")


def find_program(name: str) -> str | None:
    """Find a program on the PATH or in the system folders that are usually not on the PATH."""
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin:/usr/local/sbin")


def program(name: str, package: str, reason: str) -> str:
    """Return the path of a program. If the program is missing, install its Debian package first."""
    if find_program(name) is None:
        install([package], reason)
    found = find_program(name)
    if found is None:
        raise PartNotStarted(f"{reason}: {name} is not found although {package} is installed")
    return found


def root_prefix() -> list[str] | None:
    """Return the prefix of a command that needs root: [] or sudo. Return None if neither is
    possible."""
    if os.geteuid() == 0:
        return []
    sudo = ["sudo", "-n"]
    if shutil.which("sudo") is None:
        return None
    asked = subprocess.run([*sudo, "true"], check=False, capture_output=True)
    return sudo if asked.returncode == 0 else None


def install(packages: Sequence[str], reason: str, preseed: str = "") -> None:
    """Install Debian packages. Before that, `preseed` is passed to debconf-set-selections."""
    named = " ".join(packages)
    prefix = root_prefix() if shutil.which("apt-get") else None
    if prefix is None:
        raise PartNotStarted(f"{reason}: install {named} (apt-get install {named}), then try again")
    log = paths.INSTALL_LOG
    # sudo clears the environment, so DEBIAN_FRONTEND is set in the command after sudo.
    apt = [*prefix, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-q", "-y"]
    apt += ["-o", f"DPkg::Lock::Timeout={_LOCK_WAIT_S}"]
    with step(f"installing {named} with apt ({reason})"):
        if preseed:
            _logged([*prefix, "debconf-set-selections"], log, preseed)
        _logged([*apt, "update"], log)
        _logged([*apt, "install", "--no-install-recommends", *packages], log)


def _logged(command: Sequence[str], log: Path, given: str = "") -> None:
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as out:
        done = subprocess.run(
            command, input=given.encode(), stdout=out, stderr=subprocess.STDOUT, check=False
        )
    if done.returncode != 0:
        raise PartNotStarted(f"`{' '.join(command)}` failed; see {log}")
