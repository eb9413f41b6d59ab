"""Unpacks Debian packages that cannot be installed beside those that the tests install.

The packages of Exim and OpenSMTPD would replace Postfix's, as each is the system's mail server. The
tests only need their programs, which run from any folder.

Owns: .sluice/tools/<first package>. Libraries that the packages need and that are not installed are
unpacked with them. apt checks each package against the signatures of its archive.
Guarantees: packages are downloaded once, and no scripts of theirs are run; raises PartNotStarted
with one line of text if they cannot be downloaded.
"""

from __future__ import annotations

import fcntl
import re
import shutil
import subprocess
from pathlib import Path
from typing import Final

from cli.stack import paths
from local.parts import packages
from local.process import PartNotStarted

FOLDER: Final = paths.STATE / "tools"
_TIMEOUT_S: Final = 300
# Exim asks the system for its own user: libnss-wrapper answers from a file.
EXIM: Final = ("exim4-daemon-light", "libnss-wrapper")
OPENSMTPD: Final = ("opensmtpd",)


def fetch(names: tuple[str, ...]) -> Path:
    """Return the folder with the files of these packages; apt downloads them if missing."""
    made = FOLDER / names[0]
    FOLDER.mkdir(parents=True, exist_ok=True)
    with (FOLDER / f"{names[0]}.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        if not made.exists():
            packages.say(f"downloading {' '.join(names)} with apt (once)")
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
    """The packages of libraries that these need, without those that are installed."""
    needed: set[str] = set()
    for archive in archives:
        said = _output(["dpkg-deb", "-f", str(archive), "Depends"])
        needed.update(re.split(r"[ |(]", each.strip())[0] for each in said.split(","))
    return sorted(name for name in needed if name.startswith("lib") and not _is_installed(name))


def _is_installed(package: str) -> bool:
    command = ["dpkg-query", "-W", "-f", "${db:Status-Status}", package]
    return _output(command, check=False) == "installed"


def _output(command: list[str], *, check: bool = True) -> str:
    run = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=check)
    return run.stdout


def _run(command: list[str], folder: Path, out: int) -> None:
    subprocess.run(
        command,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=out,
        stderr=subprocess.STDOUT,
        timeout=_TIMEOUT_S,
        check=True,
    )
