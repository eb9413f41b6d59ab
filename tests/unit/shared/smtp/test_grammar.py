"""The grammar of commands and addresses."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.smtp.errors import LocalProtocolError
from shared.smtp.grammar import (
    Command,
    CommandFault,
    Path,
    PathFault,
    encode_path,
    is_mailbox,
    parse_command,
    parse_path,
    plain_path,
)

COMMANDS: list[tuple[bytes, Command | CommandFault]] = [
    (b"DATA", Command("DATA", "")),
    (b"data  ", Command("DATA", "")),
    (b"EhLo mx.example", Command("EHLO", "mx.example")),
    (b"MAIL FROM:<a@b>", Command("MAIL", "FROM:<a@b>")),
    (b"", CommandFault.VERB),
    (b" DATA", CommandFault.VERB),
    (b"DA", CommandFault.VERB),
    (b"DATA\tx", CommandFault.VERB),
    (b"D\xc3\x84TA", CommandFault.VERB),
    (b"DATA\xff", CommandFault.NOT_UTF8),
    (b"NOOP a\x00b", CommandFault.CONTROL),
    (b"NOOP a\rb", CommandFault.CONTROL),
    (b"NOOP a\x7fb", CommandFault.CONTROL),
]
PATHS: list[tuple[str, Path | PathFault]] = [
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
    ("FROM:a@b", PathFault.PATH),
    ("FROM:<a@b", PathFault.PATH),
    ("FROM:<a@b>x", PathFault.PATH),
    ("FROM:<a@b>SIZE=1", PathFault.PATH),
    ("FROM:  <a@b>", PathFault.PATH),
    ("FROM <a@b>", PathFault.PATH),
    ("TO:<a@b>", PathFault.PATH),
    ("", PathFault.PATH),
    ("FROM:<a>", PathFault.PATH),
    ("FROM:<a@>", PathFault.PATH),
    ("FROM:<@b>", PathFault.PATH),
    ("FROM:<a@b@c>", PathFault.PATH),
    ("FROM:<@x,@y:a@b>", PathFault.PATH),
    ("FROM:<a..b@c>", PathFault.PATH),
    ("FROM:<.a@c>", PathFault.PATH),
    ("FROM:<a.@c>", PathFault.PATH),
    ("FROM:<a b@c>", PathFault.PATH),
    ("FROM:<a@b..c>", PathFault.PATH),
    ("FROM:<a@b.>", PathFault.PATH),
    ("FROM:<a@b> SIZE=", PathFault.PARAMETER),
    ("FROM:<a@b> =1", PathFault.PARAMETER),
    ("FROM:<a@b> A=1=2", PathFault.PARAMETER),
    ("FROM:<a@b> A=é", PathFault.PARAMETER),
    ("FROM:<a@b> SIZE=1 size=2", PathFault.REPEATED),
    ("FROM:<a@b>" + "".join(f" A{n}" for n in range(17)), PathFault.PARAMETER),
    (f"FROM:<{'a' * 64}@b>", Path(f"{'a' * 64}@b", {})),
    (f"FROM:<{'a' * 65}@b>", PathFault.TOO_LONG),
    (f"FROM:<{'ä' * 33}@b>", PathFault.TOO_LONG),
    (f"FROM:<a@{'b' * 253}>", PathFault.TOO_LONG),
]  # fmt: skip


@pytest.mark.parametrize(("line", "expected"), COMMANDS)
def test_a_command_line_is_read_into_verb_and_argument(
    line: bytes, expected: Command | CommandFault
) -> None:
    assert parse_command(line) == expected


@pytest.mark.parametrize(("argument", "expected"), PATHS)
def test_a_path_is_read_or_its_fault_is_named(argument: str, expected: Path | PathFault) -> None:
    assert parse_path(argument, "FROM:") == expected


# The line, and the result of the fast path.
PLAIN: list[tuple[bytes, tuple[bool, str] | None]] = [
    (b"MAIL FROM:<a@b.example>", (True, "a@b.example")),
    (b"mail from:<a.b+c@b.example>", (True, "a.b+c@b.example")),
    (b"RCPT TO:<a@b>", (False, "a@b")),
    (b"Rcpt To:<A@B.Example>", (False, "A@B.Example")),
    (b"RCPT TO:<%s@b>" % (b"a" * 64), (False, f"{'a' * 64}@b")),
    (b"RCPT TO:<%s@b>" % (b"a" * 65), None),
    (b"RCPT TO:<a@%s>" % (b"b" * 252), (False, f"a@{'b' * 252}")),
    (b"RCPT TO:<a@%s>" % (b"b" * 253), None),
    (b"MAIL TO:<a@b>", None),
    (b"RCPT FROM:<a@b>", None),
    (b"MAIL FROM: <a@b>", None),
    (b"MAIL FROM:<a@b> SIZE=1", None),
    (b"MAIL FROM:<a@b> ", None),
    (b"MAIL FROM:<a@b>\n", None),
    (b"MAIL FROM:<>", None),
    (b"RCPT TO:<postmaster>", None),
    (b"RCPT TO:<a..b@c>", None),
    (b"RCPT TO:<a@b.>", None),
    (b"RCPT TO:<a@b@c>", None),
    (b"RCPT TO:<a@[127.0.0.1]>", None),
    (b'RCPT TO:<"a"@b>', None),
    ("RCPT TO:<ä@b>".encode(), None),
    (b"RCPT TO:<a@b\x00>", None),
    (b"DATA", None),
    (b"", None),
]


@pytest.mark.parametrize(("line", "expected"), PLAIN)
def test_the_plainest_lines_are_read_in_one_step(
    line: bytes, expected: tuple[bool, str] | None
) -> None:
    assert plain_path(line) == expected


@given(
    st.sampled_from(
        ["MAIL FROM:", "RCPT TO:", "mail From:", "rcpt to:", "MAIL TO:", "MAIL FROM: "]
    ),
    st.text(st.sampled_from('aZ9.-_+@<>" \\\t\0äſK[]=\r\n'), max_size=12),
    st.sampled_from([">", "> ", "> SIZE=1", "", ">>"]),
)
def test_what_is_read_in_one_step_is_what_is_read_word_by_word(
    start: str, address: str, end: str
) -> None:
    line = f"{start}<{address}{end}".encode()
    found = plain_path(line)
    if found is not None:
        is_mail, read = found
        command = parse_command(line)
        assert isinstance(command, Command)
        assert command.verb == ("MAIL" if is_mail else "RCPT")
        keyword = "FROM:" if is_mail else "TO:"
        assert parse_path(command.argument, keyword) == Path(read, {})


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
