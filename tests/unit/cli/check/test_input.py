"""What `sluice check` reads: folders, mboxes, any line ends, junk, and what is too large."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from cli.check import files as check_files
from cli.check.files import split_mbox
from shared.submission.rules import UNREADABLE
from tests.support.check_command import BAD, GOOD, results, run


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
