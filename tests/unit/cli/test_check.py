"""`sluice check`: every file of the message set, the kinds of input, and the exit codes."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from cli.check import files as check_files
from cli.check.command import main
from cli.check.files import split_mbox
from cli.check.lines import header_lines, line_to_fix, lines_meant, printable
from shared.submission.rules import RULES, UNREADABLE
from tests.messages import FOLDER, Sample, clients, load

ROOT = Path(__file__).resolve().parents[3]
DEMO = ROOT / "local" / "demo" / "clients.yaml"
GOOD = FOLDER / "plain-english.eml"
BAD = FOLDER / "several-rules.eml"
NAMES = [rule.id for rule in RULES]


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> str:
    rows = [
        {
            "name": client.name,
            "sending_domain": client.sending_domain,
            "forwarding_address": "back@office.example",
            "mailing_id": client.mailing_id,
            "codes": {
                code: {"mailing_id": row.mailing_id, "sub_client": row.sub_client}
                for code, row in client.codes.items()
            },
        }
        for client in clients().values()
    ]
    path = tmp_path_factory.mktemp("check") / "clients.yaml"
    path.write_text(yaml.safe_dump({"clients": rows}))
    return str(path)


def run(*arguments: object, given: bytes | None = None) -> Result:
    result = CliRunner().invoke(main, [str(argument) for argument in arguments], input=given)
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result


def results(result: Result) -> list[dict[str, Any]]:
    document = json.loads(result.stdout)
    assert list(document) == ["results"]
    found: list[dict[str, Any]] = document["results"]
    return found


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


HEADER = b"From: a@shop.example\r\nTo: b@r.example\r\nMessage-ID: <1@x>\r\nSubject: s\r\n"


@pytest.mark.parametrize(
    ("body", "notes"),
    [
        (b"Hi\r\n", []),
        (b"x" * 998 + b"\r\n", []),
        (b"x" * 998, []),
        (b"Hi\r\n" + b"x" * 999 + b"\r\n", ["line 7 has 999 octets, 998 are allowed"]),
        (b"x" * 5_000, ["line 6 has 5000 octets"]),
        (b"Hi\nthere\r\n", ["not every line ends with CRLF"]),
        (b"Hi\rthere\r\n", ["not every line ends with CRLF"]),
        (b"Hi\r" + b"x" * 1_000, ["not every line ends with CRLF", "line 6 has"]),
    ],
)
def test_what_only_the_front_door_refuses_is_a_note(
    body: bytes, notes: list[str], registry: str
) -> None:
    asked = ("-", "--clients", registry, "--client", "shop")
    (found,) = results(run(*asked, "--json", given=HEADER + b"\r\n" + body))
    told = found.get("notes", [])
    assert len(told) == len(notes)
    for note, part in zip(told, notes, strict=True):
        assert part in note
        assert "550 5.6.0" in note
    shown = run(*asked, given=HEADER + b"\r\n" + body).stdout
    assert shown.count("note ") == len(notes)


def test_lines_that_all_end_with_lf_need_no_note(registry: str) -> None:
    given = (HEADER + b"\r\nHi\r\n").replace(b"\r\n", b"\n")
    (found,) = results(run("-", "--clients", registry, "--client", "shop", "--json", given=given))
    assert "notes" not in found


def test_a_nul_in_the_body_is_mended_in_the_body(registry: str) -> None:
    given = HEADER + b"\r\nHi\0\r\n"
    shown = run("-", "--clients", registry, "--client", "shop", given=given).stdout
    assert "fix: Take the NUL bytes out" in shown
    assert "Write the header again" not in shown


def test_the_command_of_the_docs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    command = "tests/messages/plain-english.eml --clients local/demo/clients.yaml"
    result = run(*command.split(), "--client", "acme")
    assert result.exit_code == 1
    assert "(R4 R10)" in result.stdout


def test_a_folder_is_all_its_eml_files_and_ends_with_a_count(tmp_path: Path, registry: str) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "two.EML").write_bytes(BAD.read_bytes())
    (tmp_path / "one.eml").write_bytes(GOOD.read_bytes())
    (tmp_path / "notes.txt").write_text("not a message")
    asked = (tmp_path, "--clients", registry, "--client", "shop")
    result = run(*asked)
    assert result.exit_code == 1
    assert result.stdout.splitlines()[-1] == "2 messages: 1 accepted, 1 refused"
    names = [row["file"] for row in results(run(*asked, "--json"))]
    assert names == [str(tmp_path / "b" / "two.EML"), str(tmp_path / "one.eml")]


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
@pytest.mark.parametrize("name", ["box.mbox", "box"])
def test_an_mbox_is_judged_message_by_message(
    tmp_path: Path, registry: str, name: str, end: bytes
) -> None:
    parts = [path.read_bytes().replace(b"\r\n", b"\n") for path in (GOOD, BAD, GOOD)]
    box = b"".join(b"From a@b.example Tue Mar  3 09:15:00 2026\n" + one + b"\n" for one in parts)
    path = tmp_path / name
    path.write_bytes(box.replace(b"\n", end))
    asked = ("--clients", registry, "--client", "shop")
    found = results(run(path, *asked, "--json"))
    assert [row["file"] for row in found] == [f"{path}#{index}" for index in (1, 2, 3)]
    assert [row["accepted"] for row in found] == [True, False, True]
    shown = run(path, *asked).stdout
    number = box.decode("latin-1").split("\n").index("Cc: x@kunde.example") + 1
    assert f"line {number}: Cc: x@kunde.example" in shown
    piped = results(run("-", *asked, "--json", given=path.read_bytes()))
    assert [row["file"] for row in piped] == ["-#1", "-#2", "-#3"]


@pytest.mark.parametrize(
    ("box", "messages"),
    [
        (b"", []),
        (b"From a\nA: b\n\nbody\n\nFrom c\nA: d\n\n", [(2, b"A: b\n\nbody\n"), (7, b"A: d\n\n")]),
        (b"From a\nA: b\n\nFrom here on\n", [(2, b"A: b\n\n"), (5, b"")]),
        (b"From a\nA: b\n\nx\nFrom here on\n", [(2, b"A: b\n\nx\nFrom here on\n")]),
        (b"\n\nFrom a\nA: b", [(4, b"A: b")]),
        (b"From a\nA: b\n\n>From x\n", [(2, b"A: b\n\n>From x\n")]),
    ],
)
def test_an_mbox_is_split_after_empty_lines(box: bytes, messages: list[tuple[int, bytes]]) -> None:
    assert list(split_mbox(io.BytesIO(box))) == messages


def test_a_long_line_in_pieces_is_one_line() -> None:
    pieces = [b"From a", b"From b\n", b"A: b\n", b"\n", b"x", b"From c\n", b"\n", b"From d\n"]
    assert list(split_mbox(pieces)) == [(2, b"A: b\n\nxFrom c\n"), (7, b"")]


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


@pytest.mark.parametrize("end", [b"\r\n", b"\n"])
@pytest.mark.parametrize("has_last", [True, False])
def test_the_size_is_that_of_the_message_with_crlf_whatever_its_line_ends(
    tmp_path: Path, registry: str, end: bytes, has_last: bool
) -> None:
    normal = GOOD.read_bytes()
    assert normal.endswith(b"\r\n")
    content = normal if has_last else normal.removesuffix(b"\r\n")
    path = tmp_path / "one.eml"
    path.write_bytes(content.replace(b"\r\n", end))
    asked = (path, "--clients", registry, "--client", "shop", "--json", "--max-size")
    assert run(*asked, len(normal)).exit_code == 0
    (found,) = results(run(*asked, len(normal) - 1))
    assert [rule for rule, row in found["rules"].items() if not row["ok"]] == ["R1"]
    assert f"it has {len(normal)} bytes" in found["rules"]["R1"]["reason"]


@pytest.mark.parametrize("junk", [b"", b"\0", b"\r\n\r\n", bytes(range(256)) * 40, b"\xff" * 9_000])
def test_junk_is_unreadable_and_nothing_worse(tmp_path: Path, registry: str, junk: bytes) -> None:
    path = tmp_path / "junk.eml"
    path.write_bytes(junk)
    asked = (path, "--clients", registry, "--client", "shop")
    (found,) = results(run(*asked, "--json"))
    assert found["rules"][UNREADABLE]["ok"] is False
    result = run(*asked)
    assert result.exit_code == 1
    assert "unreadable: " in result.stdout
    assert {rule for rule, row in found["rules"].items() if not row["ok"]} == {
        UNREADABLE,
        *("R2", "R3", "R4", "R6"),
    }
    assert "not judged: The domain of the envelope sender" in result.stdout


def wrong_uses(tmp_path: Path) -> list[tuple[list[object], str]]:
    (tmp_path / "empty").mkdir()
    (tmp_path / "no.mbox").write_bytes(b"To: a\n\nx\n\nFrom b\n")
    (tmp_path / "bad.yaml").write_bytes(b"clients: {")
    (tmp_path / "latin.yaml").write_bytes(b"\xff")
    acme = ["--client", "acme", "--clients", DEMO]
    return [
        ([tmp_path / "missing.eml", *acme], "missing.eml: No such file"),
        ([tmp_path / "empty", *acme], "no .eml file"),
        ([tmp_path / "no.mbox", *acme], "no mbox"),
        ([GOOD, "--clients", DEMO], "known: acme, northbank"),
        ([GOOD, "--clients", DEMO, "--client", "acne"], "did you mean acme?"),
        ([GOOD, "--clients", tmp_path / "none.yaml"], "No such file"),
        ([GOOD, "--clients", tmp_path / "bad.yaml"], "expected YAML"),
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


@pytest.mark.parametrize("name", ["large.eml", "large.mbox", "large"])
def test_what_is_too_large_for_memory_is_refused(
    tmp_path: Path, registry: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(check_files, "MAX_MESSAGE_BYTES", 2**20)
    path = tmp_path / name
    path.write_bytes((b"From a\n" if name.endswith("mbox") else b"A: b\n") + b"x" * (2**20 + 1))
    result = run(path, "--clients", registry, "--client", "shop")
    assert result.exit_code == 2
    assert "larger than 1 MB" in result.stderr


HEAD = b"To: a\r\n\tb\r\nTO : c\r\nCc: d\r\nX\xc3\xa9: f\r\nBcc:\r\n\r\n"


@pytest.mark.parametrize(
    ("rule", "numbers", "text"),
    [
        ("R1", [], ""),
        ("R2", [], ""),
        ("R3", [1, 3], "TO : c"),
        ("R5", [4, 6], "Cc: d"),
        ("R8", [5], "X\u00e9: f"),
    ],
)
def test_the_lines_meant_are_found_with_their_numbers(
    rule: str, numbers: list[int], text: str
) -> None:
    meant = lines_meant(rule, header_lines(HEAD), b"x")
    assert [line.number for line in meant] == numbers
    assert line_to_fix(rule, meant) == text


def test_nothing_shown_can_steer_a_terminal() -> None:
    assert printable("a\x1b[2J\tb\u202e") == "a\\x1b[2J b\\u202e"
