"""Retired words are not used again, and no text refers to a file that does not exist."""

from __future__ import annotations

import re
import subprocess
from functools import cache
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).resolve().parents[2]
# Decisions and the CHANGELOG are records of their time.
TEXTS: Final = (
    *("shared", "services", "cli", "local", "tools", "bench", "docs", "sluice", "launcher"),
    *("README.md", "CONTRIBUTING.md", "SECURITY.md", ":!docs/decisions", ":!uv.lock"),
)
SUFFIXES: Final = {"", ".py", ".md", ".lua", ".toml", ".yaml"}
# Each with its replacement.
RETIRED: Final = {
    r"\banew\b": "again, recreated, reloaded",
    r"\b(is|are|was|were|be|been|stays?|goes|went) away\b": "unavailable",
    r"\bin earnest\b": "in production",
    r"\b(mend|mends|mended|mending)\b": "fix",
    r"\bhurts?\b": "damage, harm",
    r"\bseldom\b": "rarely",
    r"\bcalm\b": "quiet",
    r"\bbears?\b": "has",
    r"\blets? go\b": "drop, release, close",
    r"\bheard\b": "received",
    r"\bhears\b": "receives",
    r"\bfor want of\b": "because ... is missing",
    r"\b(what|where) (it|one) is none\b": "if it is not valid",
    r"\bBrokenRule\b": "Violation",
    r"\b(WrongUse|PartAway|StoreAway|KafkaAway)\b": "UsageError, Unavailable",
}
# Lines with URLs are not checked.
ALLOWED: Final = ("https://", "http://")
NAMED_FILE: Final = re.compile(r"(?<![\w./*<{-])((?:[\w.-]+/)*[\w-]+\.(?:py|lua|md))\b")
# Files of users and of other programs.
FOREIGN_FILES: Final = frozenset(
    {"name.py", "name.lua", "publish.py", "Publish.java", "sitecustomize.py"}
)


@cache
def tracked(*patterns: str) -> tuple[str, ...]:
    listed = subprocess.run(
        ["git", "ls-files", "--", *patterns], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return tuple(name for name in listed.stdout.splitlines() if (ROOT / name).is_file())


def lines() -> list[tuple[str, int, str]]:
    found = []
    for name in tracked(*TEXTS):
        if Path(name).suffix not in SUFFIXES:
            continue
        for number, line in enumerate((ROOT / name).read_text("utf-8").splitlines(), 1):
            found.append((name, number, line))
    return found


@pytest.mark.parametrize("pattern", RETIRED)
def test_a_retired_word_is_not_used(pattern: str) -> None:
    word = re.compile(pattern)
    used = [
        f"{name}:{number}: {line.strip()}" for name, number, line in lines() if word.search(line)
    ]
    assert not used, f"write: {RETIRED[pattern]}\n" + "\n".join(used)


def test_every_file_that_a_text_names_is_there() -> None:
    every = tracked()
    ends = {"/".join(parts[-n:]) for parts in (p.split("/") for p in every) for n in range(1, 9)}
    missing = []
    for name, number, line in lines():
        if any(mark in line for mark in ALLOWED):
            continue
        for named in NAMED_FILE.findall(line):
            relative = (Path(name).parent / named).as_posix()
            if named in ends or relative in every or Path(named).name in FOREIGN_FILES:
                continue
            if not (ROOT / Path(name).parent / named).resolve().is_file():
                missing.append(f"{name}:{number}: {named}")
    assert not missing, "\n".join(missing)
