"""Builds the pinned Go programs that the tests of the chart run: Helm 3 and Helm 4.

Owns: .sluice/tools. `go install` takes them from Go's module proxy and checks them against its
checksum database. Guarantees: each version is built once; raises PartNotStarted with one line of
text if Go is missing or too old, or a program cannot be fetched.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Final

from msgspec import Struct

from cli.stack import paths
from local.parts import packages
from local.process import PartNotStarted

FOLDER: Final = paths.STATE / "tools"
# From here on Go fetches by itself the newer version that a program asks for.
GO_MIN: Final = (1, 21)
# Minutes on two processors, the first time.
_BUILD_TIMEOUT_S: Final = 1_800


class GoProgram(Struct, frozen=True):
    """A program of a Go module, at one version."""

    name: str
    module: str
    version: str

    @property
    def path(self) -> Path:
        """Where it is once it has been built."""
        return FOLDER / f"{self.name}-{self.version}"


HELM_3: Final = GoProgram("helm", "helm.sh/helm/v3/cmd/helm", "v3.19.4")
HELM_4: Final = GoProgram("helm", "helm.sh/helm/v4/cmd/helm", "v4.2.4")


def fetch(program: GoProgram) -> Path:
    """Return the path of the program; `go install` builds it if it is missing."""
    if program.path.exists():
        return program.path
    FOLDER.mkdir(parents=True, exist_ok=True)
    with (FOLDER / "lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        if not program.path.exists():
            packages.say(f"building {program.name} {program.version} with Go (once)")
            _build(program, find_go())
    return program.path


def find_go() -> str:
    """Return the path of Go; install its Debian package first if it is missing."""
    go = shutil.which("go", path=f"{os.environ.get('PATH', '')}:/usr/local/go/bin")
    go = go or packages.program("go", "golang-go", "Go builds Helm for the tests of the chart")
    asked = subprocess.run([go, "version"], capture_output=True, text=True, check=False)
    if go_version(asked.stdout) < GO_MIN:
        wanted = ".".join(map(str, GO_MIN))
        raise PartNotStarted(f"Go builds Helm for the tests: {go} is older than {wanted}")
    return go


def go_version(text: str) -> tuple[int, int]:
    """Return the version in the output of `go version`; (0, 0) if there is none."""
    found = re.search(r"\bgo(\d+)\.(\d+)", text)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def _build(program: GoProgram, go: str) -> None:
    making = FOLDER / f"{program.path.name}.part"
    shutil.rmtree(making, ignore_errors=True)
    log = FOLDER / f"{program.path.name}.log"
    command = [go, "install", "-ldflags=-s -w", f"{program.module}@{program.version}"]
    try:
        with log.open("wb") as out:
            subprocess.run(
                command,
                env={**os.environ, "GOBIN": str(making), "GOFLAGS": ""},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                timeout=_BUILD_TIMEOUT_S,
                check=True,
            )
    except (subprocess.SubprocessError, OSError) as error:
        reason = _last_line(log) or str(error)
        named = f"{program.name} {program.version}"
        raise PartNotStarted(f"Go could not build {named} ({log}): {reason}") from None
    (making / program.name).rename(program.path)
    shutil.rmtree(making)


def _last_line(log: Path) -> str:
    lines = log.read_text("utf-8", "replace").strip().splitlines() if log.exists() else []
    return lines[-1] if lines else ""
