"""Billing as processes: `serve`, and the verbs that read Kafka and the store themselves."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.fork_server import run_module
from tests.support.patience import PATIENCE_S

_BILLING = (sys.executable, "-m", "services.billing")


@contextmanager
def serving(env: Mapping[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run `billing serve` with these variables; it is killed at the end."""
    with log.open("ab") as out:
        process = subprocess.Popen(
            [*_BILLING, "serve"], env={**os.environ, **env}, stdout=out, stderr=subprocess.STDOUT
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def run_verb(env: Mapping[str, str], *arguments: str) -> tuple[int, Any]:
    """Run a verb with --json; return its exit code and its document."""
    found = run_module("services.billing", *arguments, "--json", env=env, timeout_s=PATIENCE_S)
    return found.returncode, json.loads(found.stdout)
