"""Measuring the classes of replies against foreign labels."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from tools.measure_replies import main

RIGHT = [
    {"line": "550 5.1.1 User unknown", "label": "reject", "category": "recipient"},
    {"line": "\r\n550-Your IP is blacklisted", "label": "defer", "category": "blacklist"},
    {"line": "552 5.2.2 full", "label": "QuotaIssues"},
]
LEFT_OUT = {"line": "599 gibberish", "label": "reject", "category": "other"}
WRONG = {"line": "550 User unknown", "label": "reject", "category": "virus"}
HELD_AGAINST = {"line": "550 User unknown", "label": "defer", "category": "blacklist"}


@pytest.mark.parametrize(
    ("samples", "exit_code", "words"),
    [
        (RIGHT, 0, "3 of 3 right: 100.0%"),
        ([*RIGHT, LEFT_OUT], 0, "4 samples, 1 left out"),
        ([*RIGHT, WRONG], 1, "wrong: virus -> hard: 550 User unknown"),
        ([*RIGHT * 50, HELD_AGAINST], 1, "1 refusals for policy or authentication came out hard"),
        ([LEFT_OUT], 1, "0 of 0 right"),
    ],
)
def test_a_folder_of_samples_is_measured(
    tmp_path: Path, samples: list[dict[str, str]], exit_code: int, words: str
) -> None:
    text = "".join(json.dumps(sample) + "\n" for sample in samples)
    (tmp_path / "replies.jsonl").write_text(text, "utf-8")
    result = CliRunner().invoke(main, [str(tmp_path)])
    assert result.exit_code == exit_code
    assert words in result.output
