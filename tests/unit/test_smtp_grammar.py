"""The grammar of commands and addresses."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.smtp.errors import LocalProtocolError
from shared.smtp.grammar import (
    Command,
    Path,
    SyntaxFault,
    encode_path,
    is_mailbox,
    parse_command,
    parse_path,
)

COMMANDS: list[tuple[bytes, Command | SyntaxFault]] = [
    (b"DATA", Command("DATA", "")),
    (b"data  ", Command("DATA", "")),
    (b"EhLo mx.example", Command("EHLO", "mx.example")),
    (b"MAIL FROM:<a@b>", Command("MAIL", "FROM:<a@b>")),
    (b"", SyntaxFault.VERB),
    (b" DATA", SyntaxFault.VERB),
    (b"DA", SyntaxFault.VERB),
    (b"DATA\tx", SyntaxFault.VERB),
    (b"D\xc3\x84TA", SyntaxFault.VERB),
    (b"DATA\xff", SyntaxFault.NOT_UTF8),
    (b"NOOP a\x00b", SyntaxFault.CONTROL),
    (b"NOOP a\rb", SyntaxFault.CONTROL),
    (b"NOOP a\x7fb", SyntaxFault.CONTROL),
]
PATHS: list[tuple[str, Path | SyntaxFault]] = [
    ("FROM:<a@b.example>", Path("a@b.example", {})),
    ("from:<a@b.example>", Path("a@b.example", {})),
    ("FROM: <a@b.example>", Path("a@b.example", {})),
    ("FROM:<>", Path("", {})),
    ("FROM:<> SIZE=1", Path("", {"SIZE": "1"})),
    ("FROM:<Postmaster>", Path("Postmaster", {})),
    ("FROM:<a@b> size=10 BODY=8BITMIME SMTPUTF8", Path("a@b", {
        "SIZE": "10", "BODY": "8BITMIME", "SMTPUTF8": ""})),
    ("FROM:<a@[127.0.0.1]>", Path("a@[127.0.0.1]", {})),
    ("FROM:<a@[IPv6:::1]>", Path("a@[IPv6:::1]", {})),
    ('FROM:<"a b\\"@>"@c>', Path('"a b\\"@>"@c', {})),
    ("FROM:<jürgen@müller.example>", Path("jürgen@müller.example", {})),
    ("FROM:<o'brien+x=y@b>", Path("o'brien+x=y@b", {})),
    ("FROM:a@b", SyntaxFault.PATH),
    ("FROM:<a@b", SyntaxFault.PATH),
    ("FROM:<a@b>x", SyntaxFault.PATH),
    ("FROM:<a@b>SIZE=1", SyntaxFault.PATH),
    ("FROM:  <a@b>", SyntaxFault.PATH),
    ("FROM <a@b>", SyntaxFault.PATH),
    ("TO:<a@b>", SyntaxFault.PATH),
    ("", SyntaxFault.PATH),
    ("FROM:<a>", SyntaxFault.PATH),
    ("FROM:<a@>", SyntaxFault.PATH),
    ("FROM:<@b>", SyntaxFault.PATH),
    ("FROM:<a@b@c>", SyntaxFault.PATH),
    ("FROM:<@x,@y:a@b>", SyntaxFault.PATH),
    ("FROM:<a..b@c>", SyntaxFault.PATH),
    ("FROM:<.a@c>", SyntaxFault.PATH),
    ("FROM:<a.@c>", SyntaxFault.PATH),
    ("FROM:<a b@c>", SyntaxFault.PATH),
    ("FROM:<a@b..c>", SyntaxFault.PATH),
    ("FROM:<a@b.>", SyntaxFault.PATH),
    ("FROM:<a@b> SIZE=", SyntaxFault.PARAMETER),
    ("FROM:<a@b> =1", SyntaxFault.PARAMETER),
    ("FROM:<a@b> A=1=2", SyntaxFault.PARAMETER),
    ("FROM:<a@b> A=é", SyntaxFault.PARAMETER),
    ("FROM:<a@b> SIZE=1 size=2", SyntaxFault.REPEATED),
    ("FROM:<a@b>" + "".join(f" A{n}" for n in range(17)), SyntaxFault.PARAMETER),
    (f"FROM:<{'a' * 64}@b>", Path(f"{'a' * 64}@b", {})),
    (f"FROM:<{'a' * 65}@b>", SyntaxFault.TOO_LONG),
    (f"FROM:<{'ä' * 33}@b>", SyntaxFault.TOO_LONG),
    (f"FROM:<a@{'b' * 253}>", SyntaxFault.TOO_LONG),
]  # fmt: skip


@pytest.mark.parametrize(("line", "expected"), COMMANDS)
def test_a_command_line_is_read_into_verb_and_argument(
    line: bytes, expected: Command | SyntaxFault
) -> None:
    assert parse_command(line) == expected


@pytest.mark.parametrize(("argument", "expected"), PATHS)
def test_a_path_is_read_or_its_fault_is_named(argument: str, expected: Path | SyntaxFault) -> None:
    assert parse_path(argument, "FROM:") == expected


@given(st.text(max_size=40))
def test_what_passes_as_a_mailbox_can_neither_end_the_path_nor_the_line(local: str) -> None:
    for address in (f"{local}@example.com", f'"{local}"@example.com', f"a@{local}", local):
        if is_mailbox(address):
            line = encode_path(address) + b" SIZE=1"
            assert parse_path(f"TO:{line.decode()}", "TO:") == Path(address, {"SIZE": "1"})
            assert not any(control in line for control in (b"\r", b"\n", b"\0"))


def test_what_is_no_mailbox_is_never_written() -> None:
    assert encode_path("") == b"<>"
    for address in ("a", "a@b>\r\nRCPT TO:<c@d", "a b@c", "a@b c", "postmaster", '"a\n"@b'):
        with pytest.raises(LocalProtocolError):
            encode_path(address)
