"""Reads the Dockerfile, and repeats its COPY steps in a folder."""

from __future__ import annotations

import fnmatch
import re
import shlex
import shutil
from pathlib import Path
from typing import Final

from msgspec import Struct

from cli.stack import paths

DOCKERFILE: Final = paths.ROOT / "Dockerfile"
IGNORE_FILE: Final = paths.ROOT / ".dockerignore"
CONTEXT_PREFIX: Final = "!"
# Imports every module of the packages in its arguments; prints the file of each that was loaded.
IMPORT_EVERYTHING: Final = """
import importlib, json, pkgutil, sys
for name in sys.argv[1:]:
    package = importlib.import_module(name)
    for info in pkgutil.walk_packages(package.__path__, f"{name}."):
        if not info.name.endswith(".__main__"):
            importlib.import_module(info.name)
print(json.dumps({name: getattr(each, "__file__", None) for name, each in sys.modules.items()}))
"""
_CONTINUED: Final = re.compile(r"\\\n\s*")


class Stage(Struct, frozen=True):
    """One stage of the build: its name, its base, and its instructions."""

    name: str
    base: str
    steps: tuple[tuple[str, str], ...]

    def values(self, instruction: str) -> list[str]:
        """Return the arguments of each instruction of this kind."""
        return [value for name, value in self.steps if name == instruction]


def stages() -> dict[str, Stage]:
    """Return the stages by name, in their order."""
    found: dict[str, Stage] = {}
    for instruction, value in _instructions():
        if instruction == "FROM":
            base, _, name = value.partition(" AS ")
            found[name] = Stage(name, base, ())
        elif found:
            last = next(reversed(found.values()))
            found[last.name] = Stage(last.name, last.base, (*last.steps, (instruction, value)))
    return found


def _instructions() -> list[tuple[str, str]]:
    lines = [
        line for line in DOCKERFILE.read_text().splitlines() if not line.lstrip().startswith("#")
    ]
    text = _CONTINUED.sub(" ", "\n".join(lines))
    pairs = [line.partition(" ") for line in text.splitlines() if line.strip()]
    return [(name, value.strip()) for name, _, value in pairs]


def lineage(name: str) -> list[Stage]:
    """Return the stages that a stage consists of, the first one first."""
    known = stages()
    found = [known[name]]
    while found[0].base in known:
        found.insert(0, known[found[0].base])
    return found


def copied(name: str) -> list[tuple[str, str]]:
    """Return source and target of each path that a stage copies from the repository."""
    found = []
    for stage in lineage(name):
        for value in stage.values("COPY"):
            words = shlex.split(value)
            if not words[0].startswith("--from="):
                found += [(source, words[-1]) for source in words[:-1]]
    return found


def is_sent(path: str) -> bool:
    """Return True if .dockerignore does not exclude a path; the last match decides."""
    sent = True
    for line in IGNORE_FILE.read_text().split():
        pattern = line.removeprefix(CONTEXT_PREFIX)
        parts = path.split("/")
        ways = ["/".join(parts[: count + 1]) for count in range(len(parts))]
        if pattern.startswith("**/"):
            is_match = any(fnmatch.fnmatchcase(part, pattern[3:]) for part in parts)
        else:
            is_match = any(fnmatch.fnmatchcase(way, pattern) for way in ways)
        if is_match:
            sent = line.startswith(CONTEXT_PREFIX)
    return sent


def build(name: str, folder: Path) -> None:
    """Copy the files into the folder that the stage copies into its WORKDIR."""
    for source, target in copied(name):
        origin = paths.ROOT / source
        files = [origin] if origin.is_file() else list(origin.rglob("*"))
        for path in files:
            relative = path.relative_to(paths.ROOT).as_posix()
            if path.is_file() and is_sent(relative):
                place = folder / target / path.relative_to(origin)
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, place)


def variables(name: str) -> dict[str, str]:
    """Return the ENV of a stage."""
    found: dict[str, str] = {}
    for stage in lineage(name):
        for value in stage.values("ENV"):
            found |= dict(word.split("=", 1) for word in shlex.split(value))
    return found
