"""`sluice responses classify`: the kinds of input, what is printed, and the exit codes."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Final

import pytest
from click.testing import CliRunner, Result

from cli.responses.classify import Answer, table
from cli.responses.command import main
from shared.responses.understood import ReportedRecipient, ResponseKind, Understood

GOLDEN: Final = Path(__file__).resolve().parents[2] / "golden" / "returned"
BOUNCE: Final = (GOLDEN / "qmail-unknown.eml").read_bytes()
VACATION: Final = (GOLDEN / "vacation.eml").read_bytes()


def run(*arguments: object, given: bytes | None = None) -> Result:
    words = ["classify", *map(str, arguments)]
    result = CliRunner().invoke(main, words, input=given, env={"COLUMNS": "80"})
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result


def documents(result: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_a_message_is_one_line_of_json(tmp_path: Path) -> None:
    path = tmp_path / "bounce.eml"
    path.write_bytes(BOUNCE)
    result = run(path, "--json")
    assert result.exit_code == 0
    assert documents(result) == [
        {
            "file": str(path),
            "kind": "hard",
            "recipients": [{"address": "anna@shop.example", "kind": "hard", "status": "5.1.1"}],
            "rule": "qmail/replies-17",
        }
    ]
    assert result.stderr == ""


def test_a_folder_is_every_file_below_it_in_order(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "no-suffix").write_bytes(BOUNCE)
    (tmp_path / "a.eml").write_bytes(VACATION)
    os.mkfifo(tmp_path / "fifo")
    found = documents(run(tmp_path, "--json"))
    assert [(one["file"], one["kind"]) for one in found] == [
        (str(tmp_path / "a.eml"), "auto-reply"),
        (str(tmp_path / "b" / "no-suffix"), "hard"),
    ]


def test_an_mbox_is_classified_message_by_message(tmp_path: Path) -> None:
    path = tmp_path / "returned.mbox"
    mark = b"From MAILER-DAEMON Mon Mar  2 09:00:00 2026\n"
    path.write_bytes(mark + BOUNCE + b"\n" + mark + VACATION)
    found = documents(run(path, "--json"))
    assert [(one["file"], one["kind"]) for one in found] == [
        (f"{path}#1", "hard"),
        (f"{path}#2", "auto-reply"),
    ]


def test_a_dash_is_standard_input() -> None:
    assert [one["kind"] for one in documents(run("-", "--json", given=BOUNCE))] == ["hard"]


def test_a_path_that_cannot_be_read_is_one_line_after_which_the_others_are_done(
    tmp_path: Path,
) -> None:
    path = tmp_path / "bounce.eml"
    path.write_bytes(BOUNCE)
    missing = tmp_path / "missing"
    result = run(missing, path, "--json")
    assert result.exit_code == 2
    assert result.stderr.splitlines() == [f"sluice: {missing}: No such file or directory"]
    assert [one["file"] for one in documents(result)] == [str(path)]


def test_no_path_is_wrong_usage() -> None:
    assert run().exit_code == 2


@pytest.mark.parametrize("junk", [b"", b"\x00\xff\x1b[2J", b"Subject: \x1b]0;x\x07\n\nx@\x1b.y"])
def test_junk_has_a_kind(tmp_path: Path, junk: bytes) -> None:
    path = tmp_path / "junk.eml"
    path.write_bytes(junk)
    result = run(path)
    assert result.exit_code == 0
    assert "\x1b" not in result.stdout


def test_a_message_has_a_row_per_recipient() -> None:
    lines = run(GOLDEN / "qmail-full.eml").stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert [line.split() for line in lines if "anna@" in line or "ben@" in line]


@pytest.mark.parametrize("width", [80, 100])
def test_the_table_fits_the_terminal(width: int) -> None:
    one = ReportedRecipient("a-recipient-with-a-name@shop.example", ResponseKind.SOFT, "5.2.2")
    answers = [
        Answer("folder/bounce.eml", Understood(ResponseKind.SOFT, "delivery-report/full", (one,))),
        Answer("reply.eml", Understood(ResponseKind.REPLY, "answer")),
    ]
    lines = table(answers, width)
    assert max(map(len, lines)) <= width
    assert any(one.address in line for line in lines)


def test_a_name_cannot_steer_the_terminal() -> None:
    answer = Answer("a\x1b[2J.eml", Understood(ResponseKind.UNKNOWN, "none"))
    assert "\x1b" not in "".join(table([answer], 80))
