"""Guidance by coverage: the same targets under atheris (libFuzzer), if it is installed.

Atheris has wheels only for CPython on Linux and takes 35 MB, so it is not locked:
`pip install atheris` into a separate environment. libFuzzer ends the process when it has
finished or finds a failure, and prints its own report.
"""

from __future__ import annotations

import importlib
from importlib.util import find_spec
from pathlib import Path
from random import Random
from typing import Any, Final

from tests.fuzz.engine import check_one
from tests.fuzz.mutations import MAX_BYTES, mutate

_CODE_UNDER_TEST: Final = ("shared.mail", "shared.smtp", "services.ingest.core")


def is_available() -> bool:
    return find_spec("atheris") is not None


def run(name: str, runs: int, seed: int, corpus: Path | None) -> None:
    """Run a slice under libFuzzer; does not return."""
    atheris: Any = importlib.import_module("atheris")
    with atheris.instrument_imports(include=list(_CODE_UNDER_TEST)):
        target = importlib.import_module("tests.fuzz.targets").TARGETS[name]

    def change(data: bytes, max_size: int, number: int) -> bytes:
        random = Random(number)
        choice = random.random()
        if choice < 0.25:
            made: bytes = target.make(random)
        elif choice < 0.6:
            made = mutate(data, random)
        else:
            made = atheris.Mutate(data, max_size)
        return made[:max_size]

    arguments = ["fuzz", f"-atheris_runs={runs}", f"-runs={runs}", f"-seed={seed or 1}"]
    arguments += [
        f"-max_len={MAX_BYTES}",
        "-timeout=10",
        "-rss_limit_mb=1024",
        "-print_final_stats=1",
    ]
    if corpus is not None:
        corpus.mkdir(parents=True, exist_ok=True)
        arguments += [f"-artifact_prefix={corpus}/failed-", str(corpus)]
    atheris.Setup(arguments, lambda data: check_one(target, data) and None, custom_mutator=change)
    atheris.Fuzz()
