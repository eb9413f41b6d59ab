"""`sluice check`: every file of the message set, its options, and the exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from shared.submission.rules import RULES, UNREADABLE
from tests.messages import FOLDER, Sample, load
from tests.support.check_command import BAD, DEMO, GOOD, NAMES, ROOT, results, run


@pytest.mark.parametrize("sample", load(), ids=lambda sample: str(sample.name))
def test_the_json_agrees_with_what_is_recorded(sample: Sample, registry: str) -> None:
    envelope = ["--envelope-from", sample.envelope_from] if sample.envelope_from else []
    envelope += ["--rcpt-to", sample.rcpt] if sample.rcpt else []
    path = FOLDER / sample.name
    asked = ["--client", sample.client.name, "--clients", registry, "--json", *envelope]
    result = run(path, *asked)
    (found,) = results(result)
    rules = found["rules"]
    assert list(found) == ["file", "accepted", "rules"] + ["notes"] * ("notes" in found)
    assert found["file"] == str(path)
    assert {rule for rule, row in rules.items() if not row["ok"]} == set(sample.rules)
    assert list(rules) == NAMES + [UNREADABLE] * (UNREADABLE in sample.rules)
    for row in rules.values():
        assert list(row) == ["ok", "reason", "header"]
        assert (row["reason"] == "") is row["ok"]
        assert row["header"] == "" or not row["ok"]
    assert found["accepted"] is sample.accepted
    assert result.exit_code == (0 if sample.accepted else 1)


def test_one_message_shows_every_rule_with_line_and_fix(registry: str) -> None:
    result = run(BAD, "--clients", registry, "--client", "shop")
    assert result.exit_code == 1
    rows = [line.split() for line in result.stdout.splitlines()]
    verdicts = {row[1]: row[0] for row in rows if row[0] in {"pass", "FAIL"}}
    failed = {"R2", "R3", "R5", "R6", "R12"}
    assert verdicts == {name: "FAIL" if name in failed else "pass" for name in NAMES}
    assert "line 4: Cc: x@kunde.example" in result.stdout
    for rule in RULES:
        assert (f"fix: {rule.fix}" in result.stdout) is (rule.id in failed)
    assert "\x1b" not in result.stdout


def test_the_command_of_the_docs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    command = "tests/messages/plain-english.eml --clients local/demo/clients.yaml"
    result = run(*command.split(), "--client", "acme")
    assert result.exit_code == 1
    assert "(R4 R10)" in result.stdout


@pytest.mark.parametrize(
    ("sender", "broken"),
    [
        ("newsletter@news.shop.example", set()),
        ("<newsletter@news.shop.example>", set()),
        ("", {"R9", "R10", "R11"}),
        ("<>", {"R9", "R10", "R11"}),
        ("newsletter@shop.example", {"R9", "R10"}),
        ("a@other.example", {"R9", "R10", "R11"}),
    ],
)
def test_the_envelope_sender_is_judged_as_by_smtp(
    registry: str, sender: str, broken: set[str]
) -> None:
    asked = ("--clients", registry, "--client", "shop", "--envelope-from", sender, "--json")
    (found,) = results(run(GOOD, *asked))
    assert {rule for rule, row in found["rules"].items() if not row["ok"]} == broken


def test_the_code_header_and_the_size_limit_follow_the_options(
    tmp_path: Path, registry: str
) -> None:
    path = tmp_path / "one.eml"
    path.write_bytes(b"X-Code: none\r\n" + GOOD.read_bytes())
    asked = ["--clients", registry, "--client", "shop", "--json"]
    assert run(path, *asked).exit_code == 0
    (found,) = results(run(path, *asked, "--code-header", "x-code", "--max-size", "10"))
    assert {rule for rule, row in found["rules"].items() if not row["ok"]} == {"R1", "R8"}
    assert found["rules"]["R8"]["header"] == "X-Code: none"


def wrong_uses(tmp_path: Path) -> list[tuple[list[object], str]]:
    (tmp_path / "empty").mkdir()
    (tmp_path / "no.mbox").write_bytes(b"To: a\n\nx\n\nFrom b\n")
    (tmp_path / "bad.yaml").write_bytes(b"clients: {")
    (tmp_path / "latin.yaml").write_bytes(b"\xff")
    acme = ["--client", "acme", "--clients", DEMO]
    return [
        ([tmp_path / "missing.eml", *acme], "missing.eml: No such file"),
        ([tmp_path / "empty", *acme], "this folder has no .eml file"),
        ([tmp_path / "no.mbox", *acme], "not an mbox"),
        ([GOOD, "--clients", DEMO], "known: acme, northbank"),
        ([GOOD, "--clients", DEMO, "--client", "acne"], "did you mean acme?"),
        ([GOOD, "--clients", tmp_path / "none.yaml"], "No such file"),
        ([GOOD, "--clients", tmp_path / "bad.yaml"], "not valid YAML"),
        ([GOOD, "--clients", tmp_path / "latin.yaml"], "not UTF-8"),
        ([GOOD, *acme, "--kafka", "a:1"], "leave out --kafka"),
        ([GOOD, *acme, "--code-header", "a b"], "not the name of a header"),
        ([GOOD], "--client"),
        ([], "Missing argument"),
    ]


def test_wrong_use_is_told_in_a_line_and_ends_with_2(tmp_path: Path) -> None:
    for arguments, words in wrong_uses(tmp_path):
        result = run(*arguments)
        assert (result.exit_code, result.stdout) == (2, ""), arguments
        assert words in result.stderr, result.stderr
        assert result.stderr.count("\n") == 1 or not arguments


def test_a_single_client_of_a_file_needs_no_name(tmp_path: Path) -> None:
    (tmp_path / "one.yaml").write_text(
        yaml.safe_dump({"clients": yaml.safe_load(DEMO.read_text())["clients"][:1]})
    )
    assert run(GOOD, "--clients", tmp_path / "one.yaml").exit_code == 1


def test_kafka_away_ends_with_3() -> None:
    result = run(GOOD, "--client", "acme", "--kafka", "127.0.0.1:1", "--json")
    assert result.exit_code == 3
    assert list(json.loads(result.stdout)) == ["error"]
