"""`sluice check`, run in this process."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from cli.check.command import main
from shared.submission.rules import RULES
from tests.messages import FOLDER

ROOT = Path(__file__).resolve().parents[2]
DEMO = ROOT / "local" / "demo" / "clients.yaml"
GOOD = FOLDER / "plain-english.eml"
BAD = FOLDER / "several-rules.eml"
NAMES = [rule.id for rule in RULES]


def run(*arguments: object, given: bytes | None = None) -> Result:
    result = CliRunner().invoke(main, [str(argument) for argument in arguments], input=given)
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result


def results(result: Result) -> list[dict[str, Any]]:
    document = json.loads(result.stdout)
    assert list(document) == ["results"]
    found: list[dict[str, Any]] = document["results"]
    return found
