"""Measuring the understanding of returned mail against foreign labels."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import pytest
from click.testing import CliRunner

from tools.measure_returned import half_of, main

GOLDEN: Final = Path(__file__).resolve().parents[2] / "golden" / "returned"
HARD: Final[dict[str, Any]] = {
    "file": "qmail-unknown.eml",
    "expected": "hard",
    "is_bounce": True,
    "recipients": [{"addr": "Anna@SHOP.example", "expected": "hard"}],
    "score_class": True,
    "label_kind": "address-class",
}
VACATION: Final[dict[str, Any]] = {
    "file": "vacation.eml",
    "expected": "autoresponder",
    "is_bounce": False,
    "recipients": [],
    "score_class": True,
    "label_kind": "address-class",
}
# Labels of qmail-unknown.eml that it is not right for.
SOFT: Final = {**HARD, "expected": "soft"}
PASSING: Final = {**SOFT, "label_kind": "permanence", "score_class": False}
OTHER: Final = {**HARD, "recipients": [{"addr": "ben@shop.example", "expected": "hard"}]}


@pytest.mark.parametrize(
    ("labels", "exit_code", "words"),
    [
        ([HARD, VACATION], 0, "class right           2 of    2  100.0%"),
        ([HARD, SOFT], 1, "class right           1 of    2   50.0%  below 93%"),
        ([HARD, SOFT], 1, "class: qmail-unknown.eml: soft (None) -> hard (qmail/replies-17)"),
        ([HARD, SOFT], 1, "hard is right         1 of    2   50.0%  below 98%"),
        ([HARD, PASSING], 1, "1 auto-replies, ordinary or passing ones called hard"),
        ([OTHER], 1, "recipients: qmail-unknown.eml: ['ben@shop.example']"),
        ([VACATION], 0, "0 exceptions"),
    ],
)
def test_a_folder_of_samples_is_measured(
    tmp_path: Path, labels: list[dict[str, Any]], exit_code: int, words: str
) -> None:
    (tmp_path / "returned").mkdir()
    for label in labels:
        content = (GOLDEN / label["file"]).read_bytes()
        (tmp_path / "returned" / label["file"]).write_bytes(content)
    lines = "".join(json.dumps(label) + "\n" for label in labels)
    (tmp_path / "returned.jsonl").write_text(lines, "utf-8")
    result = CliRunner().invoke(main, [str(tmp_path), "--wrong"])
    assert words in result.output
    assert result.exit_code == exit_code


def test_copies_with_other_line_ends_are_in_the_same_half() -> None:
    files = ("x/a.eml", "x-crlf/a.eml", "x-cr/a.eml")
    assert len({half_of({"file": file}) for file in files}) == 1
    assert half_of({"file": "x/b.eml", "dup_of": "x/a.eml"}) == half_of({"file": "x/a.eml"})
